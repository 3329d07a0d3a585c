"""Grey pictures of more than 8 bits: choose the values that become black and white, once for a whole data set.

A 16-bit file may hold 10, 12 or 14 bits, floats or signed numbers (cameras, microscopes, CT). If 12 bits in a 16-bit
file were scaled by the file's type, 16 of 256 grey levels would be left.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from frostline.data.pictures.files import DICOM, FRAMES, UNREADABLE, room_for
from frostline.errors import ConfigError, DataError, counted

DEEP = ("I", "F")  # first letter of Pillow's modes with more than 8 bits
TOPS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # largest values of 8, 10, 12, 14 and 16 bits
PLAIN = {".jpg", ".jpeg", ".jpe", ".jfif"}  # formats of 8 bits and one frame
FILLED = 0.02  # share of the range; pictures that use less are nearly uniform
PNG, PNG_COLOURS = b"\x89PNG\r\n\x1a\n", (2, 4, 6)  # colour types (PNG specification, 11.2.2): not grey alone

Range = tuple[float, float]  # the values that become black and white
Setting = list[float] | Literal["each", "lung", "bone", "soft_tissue", "brain"] | None  # values of data.grey_range
# Usual windows of CT in Hounsfield units: centre minus and plus half of the width (radiopaedia.org, "Windowing (CT)").
WINDOWS: dict[str, Range] = {
    "lung": (-1350.0, 150.0), "bone": (-500.0, 1300.0), "soft_tissue": (-160.0, 240.0), "brain": (0.0, 80.0),
}  # fmt: skip


class Deep(NamedTuple):
    """number: of grey pictures with more than 8 bits, whose finite values go from `low` to `high`. floats: how many of
    them hold floats. holes: how many of them hold NaN or infinite values. colours: number of colour pictures with 16
    bits, of which Pillow reads 8. windowed: number of grey pictures that hold a window of their own. frames: number of
    DICOM files with several frames. animated: number of other files with several."""

    number: int
    low: float
    high: float
    floats: int
    colours: int
    holes: int = 0
    windowed: int = 0
    frames: int = 0
    animated: int = 0

    def range(self) -> Range:
        """The smallest usual range that holds all values: 0 to 1 for floats, 0 to one of TOPS for whole numbers. If
        none does, `low` to `high`."""
        tops = (1.0,) if self.floats else TOPS
        fitting = [top for top in tops if self.low >= 0 and self.high <= top]
        if fitting:
            return 0.0, fitting[0]
        return self.low, self.high if self.high > self.low else self.low + 1


def deep_of(files: Sequence[Path]) -> Deep:
    """Read all files that may be deep or animated. Unreadable ones are skipped here, and reported when their content is
    needed."""
    with ThreadPoolExecutor() as pool:
        found = [it for it in pool.map(_deep, (file for file in files if file.suffix.lower() not in PLAIN)) if it]
    grey = [it for it in found if it.number]
    return Deep(
        len(grey),
        min((it.low for it in grey), default=0.0),
        max((it.high for it in grey), default=0.0),
        sum(it.floats for it in grey),
        sum(it.colours for it in found),
        sum(it.holes for it in grey),
        sum(it.windowed for it in found),
        sum(it.frames for it in found),
        sum(it.animated for it in found),
    )


def require_range(setting: Setting) -> None:
    """Raises ConfigError unless the setting is two ascending numbers, `each`, a name in WINDOWS or None."""
    if setting is None or (isinstance(setting, str) and setting in ("each", *WINDOWS)):
        return
    numbers = isinstance(setting, list) and all(isinstance(it, int | float) and math.isfinite(it) for it in setting)
    if not isinstance(setting, list) or not numbers or len(setting) != 2 or not setting[0] < setting[1]:
        raise ConfigError(
            f"a range of grey is two numbers, the lower one first, not {setting}",
            where="data.grey_range",
            next_step="data.grey_range=[0,4095], for example; null finds the range in the pictures",
        )


def range_of(files: Sequence[Path], setting: Setting, where: object, step: str = "") -> tuple[Range | None, list[str]]:
    """Choose the range of a set of pictures as `chosen_range` does, and return it with notes on their depth. step: the
    next step of the error, in place of a setting.

    Raises DataError if no range is set and none fits all pictures."""
    deep = deep_of(files)
    require_one_kind(setting, deep, where, step)
    chosen = chosen_range(setting, deep)
    return chosen, grey_notes(deep, chosen)


def require_one_kind(setting: Setting, deep: Deep, where: object, step: str = "") -> None:
    """Raises DataError if no range is set and none fits all pictures: some hold floats, or windows of their own."""
    if setting is None and deep.windowed and deep.number:
        raise DataError(
            f"{deep.windowed:,} grey pictures hold a window of their own and {deep.number:,} have more than 8 bits "
            "without one, so no range fits both",
            where=where,
            next_step=step or "data.grey_range=each  # scales each by its own window, or its type",
        )
    if setting is None and 0 < deep.floats < deep.number:
        raise DataError(
            f"of {deep.number:,} grey pictures {deep.floats:,} hold floats and the others whole numbers, so no range "
            "fits both",
            where=where,
            next_step=step or "data.grey_range=each  # scales each by its own type; or save all of them as one type",
        )


def fixed_range(setting: Setting) -> Range | None:
    """The range that a setting names, whatever the pictures hold; None if they decide."""
    if isinstance(setting, list):
        return float(setting[0]), float(setting[1])
    return None if setting is None else WINDOWS.get(setting)


def chosen_range(setting: Setting, deep: Deep) -> Range | None:
    """Return the range of a data set; None if no picture needs one, or `each` picture gets its own. setting: two
    numbers are used as they are, names stand for WINDOWS; None uses `deep.range()`, or the pictures' own windows."""
    if setting == "each" or not deep.number + deep.windowed or (setting is None and deep.windowed):
        return None
    if isinstance(setting, str):
        return WINDOWS[setting]
    return deep.range() if setting is None else (float(setting[0]), float(setting[1]))


def grey_notes(deep: Deep, chosen: Range | None) -> list[str]:
    notes = []
    if deep.windowed:
        window = "their own window" if chosen is None else f"the range {chosen[0]:g} to {chosen[1]:g}"
        number = counted(deep.windowed, "DICOM picture is", "DICOM pictures are")
        notes.append(f"{number} shown by {window} (data.grey_range)")
    if deep.frames:
        number = counted(deep.frames, "DICOM file has", "DICOM files have")
        notes.append(f"{number} several frames, of which the middle one is used")
    if deep.animated:
        number = counted(deep.animated, "picture has", "pictures have")
        notes.append(f"{number} several frames or pages, of which the first one is used")
    if chosen is not None and deep.number:
        low, high = (repr(value).removesuffix(".0") for value in chosen)
        number = counted(deep.number, "grey picture has", "grey pictures have")
        notes.append(
            f"{number} more than 8 bits: {low} becomes black and {high} white (data.grey_range=[{low},{high}])"
        )
        if deep.low < chosen[0] or deep.high > chosen[1]:
            notes.append(f"they have values from {deep.low:g} to {deep.high:g}, which are clipped to that range")
        if deep.high - deep.low < FILLED * (chosen[1] - chosen[0]):
            notes.append(f"they use little of that range, {deep.low:g} to {deep.high:g}, and are nearly uniform")
    if deep.holes:
        notes.append(f"{deep.holes:,} of them hold NaN, which becomes black, or infinite values")
    if deep.colours:
        notes.append(f"{deep.colours:,} colour pictures have 16 bits, of which the upper 8 are read")
    return notes


def to_eight_bits(values: np.ndarray, mode: str, chosen: Range | None) -> np.ndarray:
    """(H, W) of any type → uint8. chosen: None for the picture's own range: 0..65535 for I;16; by the values of modes I
    and F, 0..1 (F only), 0..255 or 0..65535. NaN, with which some sensors mark missing values, becomes black."""
    values = np.nan_to_num(values.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if chosen is None:
        top = 65535.0 if mode.startswith("I;16") else values.max(initial=0.0, where=np.isfinite(values))
        chosen = 0.0, 1.0 if mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    low, high = chosen
    scale = 255.0 / (high - low) if high > low else 0.0  # low + 1 is low beyond 2^53
    with np.errstate(invalid="ignore"):  # 0 · inf
        scaled = np.nan_to_num((values - low) * scale)
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _deep(file: Path) -> Deep | None:
    try:
        with Image.open(file) as opened, room_for(opened):
            frames = {"frames": _has_frames(opened), "animated": int(getattr(opened, "is_animated", False))}
            if not opened.mode.startswith(DEEP):
                return Deep(0, 0.0, 0.0, 0, int(_has_deep_colours(file)), **frames)
            if opened.format == DICOM:
                return Deep(0, 0.0, 0.0, 0, 0, windowed=1, **frames)
            return deep_values(np.asarray(opened), opened.mode)._replace(**frames)
    except UNREADABLE:
        return None


def deep_values(values: np.ndarray, mode: str) -> Deep:
    """values: (H, W) of one grey picture in a mode of Pillow with more than 8 bits. Counts no picture if none of them
    is finite."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return Deep(0, 0.0, 0.0, 0, 0)
    holes = int(finite.size < values.size)
    return Deep(1, float(finite.min()), float(finite.max()), int(mode.startswith("F")), 0, holes)


def _has_frames(opened: Image.Image) -> int:
    return int(opened.info.get(FRAMES, 1) > 1)


def _has_deep_colours(file: Path) -> bool:
    """Whether a PNG has 16 bits per colour, by its header: Pillow's mode is RGB in any case."""
    if file.suffix.lower() != ".png":
        return False
    with file.open("rb") as opened:
        header = opened.read(26)
    return header.startswith(PNG) and header[24:25] == b"\x10" and header[25] in PNG_COLOURS
