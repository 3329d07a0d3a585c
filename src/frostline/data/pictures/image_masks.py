"""Your own pictures with a mask each, in folders `images` and `masks`."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from frostline.config.ranges import NonNegative, Positive
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.data.pictures.files import passed_note
from frostline.data.pictures.grey import Setting
from frostline.data.pictures.mask_pairs import MaskPairs
from frostline.data.pictures.masks import VALUES, MaskedPictures, at_once, mask_values, palette_of
from frostline.data.pictures.module import PictureData
from frostline.data.pictures.reading import upright_size
from frostline.data.source import Sources
from frostline.data.splits import require_per_class
from frostline.errors import ConfigError, DataError, few
from frostline.paths import at_home
from frostline.tasks.segmentation import IGNORED

NAMES = "classes.txt"
MULTIPLE = 32  # of which the sides of an input are: networks halve them five times


class ImageMasks(PictureData):
    """The keys are explained in conf/data/image_masks.yaml. Raises DataError that names a picture or a mask."""

    kinds = ("masks",)
    named_by = "data.dir"
    divides = "folders train, val and test in images and masks"

    def __init__(
        self,
        spec: Any,
        *,
        dir: str,
        classes: list[str | int] | None,
        ignore: list[NonNegative[int]],
        mask_suffix: str,
        sides: list[Positive[int]] | None,
        tile: list[Positive[int]] | None,
        grey_range: Setting,
        known: Targets | None = None,
        **common: Any,
    ) -> None:
        self.dir = self.where = at_home(dir)
        self.name = self.dir.absolute().name
        self.wanted = None if classes is None else [str(name) for name in classes]
        self.ignore = ignore
        self._pairs = MaskPairs(self.dir, mask_suffix)
        self.sides = sides
        self.tile = tile
        self.grey_range = grey_range
        self.known = known
        for key, pair in (("sides", sides), ("tile", tile)):
            _require_pair(f"data.{key}", pair)
        if max(ignore, default=0) >= VALUES:
            raise ConfigError(
                f"a mask holds values up to {VALUES - 1}, and here is {max(ignore)}",
                where="data.ignore",
                next_step=f"data.ignore=[{','.join(str(value) for value in ignore if value < VALUES)}]",
            )
        super().__init__(spec, known=known, **common)
        if known is None:
            self.targets = replace(self.targets, about={"palette": self.palette, "values": self.values})

    def read(self) -> Sources:
        pairs = self._pairs.by_part(needs_train=self.known is None)
        first = next(iter(pairs.values()))
        self._masks = [mask for some in pairs.values() for _, mask in some]
        self.palette = palette_of(first[0][1])
        named = self._classes()
        self.values = [*named]
        self._choose_sides([picture for picture, _ in first])
        indices = dict.fromkeys(self.ignore, IGNORED) | {value: place for place, value in enumerate(named)}
        found = {
            part: MaskedPictures(*map(list, zip(*some, strict=True)), indices=indices, root=self.dir, spec=self.spec)
            for part, some in pairs.items()
        }
        self.scale_grey(found.values(), self.grey_range)
        return Sources(
            [*named.values()], found.get("train") or [*found.values()][-1], found.get("val"), found.get("test")
        )

    # --- classes ---

    def _classes(self) -> dict[int, str]:
        """The names of the values that count, by value. Raises DataError."""
        names = self.wanted if self.wanted is not None else _lines(self.dir / NAMES)
        if names is not None:
            named = dict(enumerate(names))
        elif self.known is not None:
            named = dict(zip(self.known.about["values"], self.known.names, strict=True))
        else:
            named = {value: str(value) for value in _values(self._masks)}
        counted = {value: name for value, name in named.items() if value not in self.ignore}
        twice = [name for name, number in Counter(counted.values()).items() if number > 1]
        if twice:
            raise DataError(f"two classes are called '{twice[0]}'", where=self.where, next_step="rename one of them")
        if not 2 <= len(counted) <= IGNORED or max(counted) >= VALUES:
            raise DataError(
                f"masks need 2 to {IGNORED} classes, and here are {len(counted)}: {few([*counted.values()])}"
                f"{self._without_ignored()[0]}",
                where=self.where,
                next_step=self._without_ignored()[1] or f"name them in {NAMES}, a line each, or in data.classes=[...]",
            )
        return counted

    def _without_ignored(self) -> tuple[str, str]:
        """Which values occur and do not count, and the settings with which they do; empty where none occurs."""
        ignored = [str(value) for value in _values(self._masks) if value in self.ignore]
        if not ignored:
            return "", ""
        names = f"remove {NAMES} and " if self.wanted is None and (self.dir / NAMES).is_file() else ""
        rest = ",".join(str(value) for value in self.ignore if str(value) not in ignored)
        said = f"; pixels of the value {few(ignored)} do not count (data.ignore)"
        return said, f"{names}data.classes=null data.ignore=[{rest}]  # each value is a class"

    def _require_of_each(self, needed: int, labels: Tensor, reason: str) -> None:
        counts = self.target.counts(self.names, labels)
        try:
            require_per_class(counts, needed, where=self.where, reason=reason)
        except DataError as error:
            rare = [value for value, name in zip(self.values, self.names, strict=True) if counts[name] < needed]
            said, step = self._without_ignored() if min(counts.values()) == 0 else ("", "")
            left_out = ",".join(map(str, [*self.ignore, *rare]))
            raise DataError(
                f"{error.what}{said}",
                where=self.where,
                next_step=step or f"add pictures that show them; or data.ignore=[{left_out}]; or {self.divides}",
            ) from None

    # --- sizes ---

    def _choose_sides(self, pictures: Sequence[Path]) -> None:
        """The shorter side is that of the spec; the other follows from the usual aspect of the pictures."""
        sizes = at_once(upright_size, pictures, "pictures cannot be read")
        ratio = statistics.median(height / width for width, height in sizes)
        if self.tile is None:
            self.tile = [int(statistics.median(side)) for side in zip(*sizes, strict=True)][::-1]
        if self.sides is None:
            short = self.spec.size
            sides = (short * max(ratio, 1), short * max(1 / ratio, 1))
            fixed = self.spec.sizes == "fixed"
            self.sides = [short if fixed else max(MULTIPLE, round(it / MULTIPLE) * MULTIPLE) for it in sides]
        _require_sides(self.sides, self.spec)
        self.spec = replace(self.spec, stretched=(self.sides[0], self.sides[1]))

    def chosen(self) -> dict[str, Any]:
        return super().chosen() | {"data.sides": self.sides, "data.tile": self.tile}

    def notes(self) -> list[str]:
        return [*super().notes(), *passed_note(+self._pairs.passed)]


def _require_pair(key: str, pair: list[int] | None) -> None:
    if pair is not None and len(pair) != 2:
        raise ConfigError(f"two sides are needed, and here are {len(pair)}", where=key, next_step=f"{key}=[256,256]")


def _require_sides(sides: list[int], spec: ImageSpec) -> None:
    """Raises ConfigError where a network that halves its input five times, or this one, does not take such sides."""
    least = -(-spec.min_size // MULTIPLE) * MULTIPLE
    problem = f"each side is a multiple of {MULTIPLE}, from {least} up"
    fitting = [max(least, round(side / MULTIPLE) * MULTIPLE) for side in sides]
    if spec.sizes == "fixed":
        problem, fitting = f"this backbone takes pictures of {spec.size} pixels only", [spec.size, spec.size]
    if sides != fitting:
        raise ConfigError(
            f"{problem}, and here are {sides[0]} × {sides[1]}",
            where="data.sides",
            next_step=f"data.sides=[{fitting[0]},{fitting[1]}]",
        )


def _values(masks: Sequence[Path]) -> list[int]:
    """Those that occur in the masks. Raises DataError."""
    return sorted(
        set[int]().union(*at_once(lambda mask: np.unique(mask_values(mask)).tolist(), masks, "masks cannot be read"))
    )


def _lines(file: Path) -> list[str] | None:
    """None if there is no such file. Raises DataError."""
    if not file.is_file():
        return None
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"the file is no text: {error}", where=file, next_step="save it as UTF-8") from error
    if "" in lines:
        raise DataError(
            f"line {lines.index('') + 1} is empty, and stands for the value {lines.index('')}",
            where=file,
            next_step="write a name there, or remove the line",
        )
    return lines
