"""Grey pictures of more than 8 bits: which values become black and white, the same for a whole data set.

A 16-bit file may hold 10, 12 or 14 bits, and there are floats and numbers with a sign (cameras, microscopes, CT). If 12
bits in a 16-bit file are scaled by the type of the file, 16 of 256 grey levels are left.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from frostline.data.pictures.files import UNREADABLE, room_for
from frostline.errors import ConfigError, DataError

DEEP = ("I", "F")  # modes of Pillow with more than 8 bits begin so
TOPS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # of 8, 10, 12, 14 and 16 bits
SHALLOW = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"}  # have 8 bits
FILLED = 0.02  # of a range
PNG, PNG_COLOURS = b"\x89PNG\r\n\x1a\n", (2, 4, 6)  # colour types (PNG specification, 11.2.2): not grey alone

Range = tuple[float, float]  # the values that become black and white
Setting = list[float] | Literal["each"] | None  # of data.grey_range


class Deep(NamedTuple):
    """number: of grey pictures with more than 8 bits, whose values go from `low` to `high`. floats: how many of them
    hold floats, holes: how many hold what is no finite number. colours: of colour pictures with 16 bits, which Pillow
    reads as 8."""

    number: int
    low: float
    high: float
    floats: int
    colours: int
    holes: int = 0

    def range(self) -> Range:
        """The smallest usual one that holds all values: of floats 0 to 1, of whole numbers those of TOPS. If none does,
        from the lowest to the highest value."""
        tops = (1.0,) if self.floats else TOPS
        fitting = [top for top in tops if self.low >= 0 and self.high <= top]
        if fitting:
            return 0.0, fitting[0]
        return self.low, self.high if self.high > self.low else self.low + 1


def deep_of(files: Sequence[Path]) -> Deep:
    """Files that cannot be read are passed over: they are told when their content is needed."""
    with ThreadPoolExecutor() as pool:
        found = [it for it in pool.map(_deep, (file for file in files if file.suffix.lower() not in SHALLOW)) if it]
    grey = [it for it in found if it.number]
    return Deep(
        len(grey),
        min((it.low for it in grey), default=0.0),
        max((it.high for it in grey), default=0.0),
        sum(it.floats for it in grey),
        sum(it.colours for it in found),
        sum(it.holes for it in grey),
    )


def require_range(setting: Setting) -> None:
    """Raises ConfigError unless it is two numbers that rise, `each` or None."""
    if setting is None or setting == "each":
        return
    numbers = isinstance(setting, list) and all(isinstance(it, int | float) and math.isfinite(it) for it in setting)
    if not numbers or len(setting) != 2 or not setting[0] < setting[1]:
        raise ConfigError(
            f"a range of grey is two numbers, the lower one first, not {setting}",
            where="data.grey_range",
            next_step="data.grey_range=[0,4095], say; null finds it in the pictures",
        )


def require_one_kind(setting: Setting, deep: Deep, where: object) -> None:
    """Raises DataError where no range is set and none can hold all pictures: floats beside whole numbers."""
    if setting is None and 0 < deep.floats < deep.number:
        raise DataError(
            f"of {deep.number:,} grey pictures {deep.floats:,} hold floats and the others whole numbers: no range is "
            "that of both",
            where=where,
            next_step="data.grey_range=each  # scales each by its own type; or save all of them as one type",
        )


def chosen_range(setting: Setting, deep: Deep) -> Range | None:
    """setting: two numbers; `each` for each picture by its own type and values; None for the range that `deep` finds.
    None of pictures that need none."""
    if setting == "each" or not deep.number:
        return None
    return deep.range() if setting is None else (float(setting[0]), float(setting[1]))


def grey_notes(deep: Deep, chosen: Range | None) -> list[str]:
    notes = []
    if chosen is not None:
        low, high = (repr(value).removesuffix(".0") for value in chosen)
        notes.append(
            f"{deep.number:,} grey pictures have more than 8 bits: {low} becomes black and {high} white "
            f"(data.grey_range=[{low},{high}])"
        )
        if deep.low < chosen[0] or deep.high > chosen[1]:
            notes.append(f"values from {deep.low:g} to {deep.high:g} occur in them: what is beyond is cut off")
        if deep.high - deep.low < FILLED * (chosen[1] - chosen[0]):
            notes.append(f"they fill little of that range, from {deep.low:g} to {deep.high:g}: nearly one grey")
    if deep.holes:
        notes.append(f"{deep.holes:,} of them hold values that are no numbers, which become black, or infinite ones")
    if deep.colours:
        notes.append(f"{deep.colours:,} colour pictures have 16 bits, of which the upper 8 are read")
    return notes


def to_eight_bits(values: np.ndarray, mode: str, chosen: Range | None) -> np.ndarray:
    """(H, W) of any type → uint8. chosen: None for the picture's own: I;16 has 16 bits; of modes I and F the values
    tell: 0..1 for floats, else 0..255, else 0..65535. What is not a number, as where a sensor saw nothing, is black."""
    values = np.nan_to_num(values.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if chosen is None:
        top = 65535.0 if mode.startswith("I;16") else values.max(initial=0.0, where=np.isfinite(values))
        chosen = 0.0, 1.0 if mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    low, high = chosen
    return np.rint(np.clip((values - low) * (255.0 / (high - low)), 0, 255)).astype(np.uint8)


def _deep(file: Path) -> Deep | None:
    try:
        with Image.open(file) as opened, room_for(opened):
            if not opened.mode.startswith(DEEP):
                return Deep(0, 0.0, 0.0, 0, int(_has_deep_colours(file)))
            values, mode = np.asarray(opened), opened.mode
    except UNREADABLE:
        return None
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return None
    holes = int(finite.size < values.size)
    return Deep(1, float(finite.min()), float(finite.max()), int(mode.startswith("F")), 0, holes)


def _has_deep_colours(file: Path) -> bool:
    """By the header of a PNG: Pillow's mode does not tell."""
    if file.suffix.lower() != ".png":
        return False
    with file.open("rb") as opened:
        header = opened.read(26)
    return header.startswith(PNG) and header[24:25] == b"\x10" and header[25] in PNG_COLOURS
