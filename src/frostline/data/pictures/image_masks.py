"""Your own pictures with a mask each, in folders `images` and `masks`."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from frostline.data.pictures.files import picture_files
from frostline.data.pictures.image_folder import PARTS
from frostline.data.pictures.masks import VALUES, MaskedPictures, mask_values, palette_of, usual_palette
from frostline.data.pictures.module import PictureData
from frostline.data.pictures.reading import upright_size
from frostline.data.source import Source, Sources
from frostline.errors import DataError, few
from frostline.paths import at_home
from frostline.tasks.segmentation import IGNORED

NAMES = "classes.txt"
MULTIPLE = 32  # of which the sides of an input are: networks halve them five times
Pair = tuple[Path, Path]


class ImageMasks(PictureData):
    """The keys are explained in conf/data/image_masks.yaml. Raises DataError that names a picture or a mask."""

    kinds = ("masks",)
    named_by = "data.dir"
    divides = "folders train, val and test in images and masks"
    chooses = None

    def __init__(
        self,
        spec: Any,
        *,
        dir: str,
        classes: list[str | int] | None,
        ignore: list[int],
        mask_suffix: str,
        sides: list[int] | None,
        tile: list[int] | None,
        **common: Any,
    ) -> None:
        self.dir = self.where = at_home(dir)
        self.name = self.dir.absolute().name
        self.wanted = None if classes is None else [str(name) for name in classes]
        self.ignore = ignore
        self.mask_suffix = mask_suffix
        self.sides = sides
        self.palette = usual_palette()
        self.tile = tile
        self.left_out = 0
        super().__init__(spec, **common)
        self.targets = replace(self.targets, about=self.targets.about | {"palette": self.palette})

    def read(self) -> Sources:
        pairs = {part: [*self._pairs(part)] for part in (*PARTS, None)}
        if not pairs["train"]:
            pairs["train"] = pairs[None]
        if not any(pairs.values()):
            raise DataError(
                "there is no picture with a mask",
                where=self.dir,
                next_step="put pictures into images/ and a PNG of the same name for each into masks/, both with or "
                "without folders train, val and test",
            )
        first = next(found for found in pairs.values() if found)
        self.palette = palette_of(first[0][1]) or self.palette
        names = self._names(pairs)
        indices = _indices(names, self.ignore, self.where)
        self._choose_sides([picture for picture, _ in first])
        found: dict[str | None, Source] = {
            part: MaskedPictures(
                [picture for picture, _ in some],
                [mask for _, mask in some],
                indices=indices,
                root=self.dir,
                spec=self.spec,
            )
            for part, some in pairs.items()
            if some and part is not None
        }
        counted = [name for value, name in enumerate(names) if value not in self.ignore]
        return Sources(counted, found.get("train") or next(iter(found.values())), found.get("val"), found.get("test"))

    def _pairs(self, part: str | None) -> Iterator[Pair]:
        """Pictures of one part with their masks; None for those in no part."""
        for pictures, masks in self._folders(part):
            by_name = {it.relative_to(masks).with_suffix(""): it for it in masks.rglob("*.*") if it.is_file()}
            for file in picture_files(pictures).files:
                name = file.relative_to(pictures).with_suffix("")
                if part is None and name.parts[0].lower() in {it for some in PARTS.values() for it in some}:
                    continue
                mask = by_name.get(name.with_name(name.name + self.mask_suffix))
                if mask is not None:
                    yield file, mask
                else:
                    self.left_out += 1

    def _folders(self, part: str | None) -> Iterator[Pair]:
        """`images/train` and `masks/train`, or `train/images` and `train/masks`."""
        for name in (".",) if part is None else PARTS[part]:
            for pictures, masks in (
                (self.dir / "images" / name, self.dir / "masks" / name),
                (self.dir / name / "images", self.dir / name / "masks"),
            ):
                if pictures.is_dir() and masks.is_dir() and (part is not None or pictures.parent == self.dir):
                    yield pictures, masks
                    return

    def _names(self, pairs: dict[Any, list[Pair]]) -> list[str]:
        """A name for each value from 0 up, those that do not count included."""
        file = self.dir / NAMES
        if self.wanted is not None:
            return self.wanted
        if file.is_file():
            return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        values = {int(value) for some in pairs.values() for _, mask in some for value in set(mask_values(mask).flat)}
        return [str(value) for value in range(1 + max(values - {*self.ignore}, default=0))]

    def _choose_sides(self, pictures: list[Path]) -> None:
        """The shorter side is that of the spec; the other follows from the usual aspect of the pictures."""
        sizes = [upright_size(file) for file in pictures]
        ratio = statistics.median(height / width for width, height in sizes)
        if self.tile is None:
            self.tile = [int(statistics.median(side)) for side in zip(*sizes, strict=True)][::-1]
        if self.sides is None:
            short = self.spec.size
            sides = (short * max(ratio, 1), short * max(1 / ratio, 1))
            fixed = self.spec.sizes == "fixed"
            self.sides = [short if fixed else max(MULTIPLE, round(it / MULTIPLE) * MULTIPLE) for it in sides]
        self.spec = replace(self.spec, stretched=(self.sides[0], self.sides[1]))

    def chosen(self) -> dict[str, Any]:
        return super().chosen() | {"data.sides": self.sides, "data.tile": self.tile}

    def notes(self) -> list[str]:
        left = f"{self.left_out:,} picture{'s' * (self.left_out > 1)} without a mask: left out"
        return [*super().notes(), *([left] if self.left_out else [])]


def _indices(names: list[str], ignore: list[int], where: object) -> dict[int, int]:
    """The class of each value of a mask. Raises DataError."""
    values = [value for value in range(len(names)) if value not in ignore]
    if len(names) > IGNORED or len(values) < 2:
        raise DataError(
            f"masks need 2 to {IGNORED} classes, and here are {len(values)}: {few([names[it] for it in values])}",
            where=where,
            next_step=f"name them in {NAMES}, a line each, or in data.classes=[...]",
        )
    return {value: number for number, value in enumerate(values)} | dict.fromkeys(
        (it for it in ignore if 0 <= it < VALUES), IGNORED
    )
