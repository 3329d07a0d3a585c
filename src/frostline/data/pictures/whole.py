"""Modalities of pictures that are resized to two sides without a crop. Sides are height and width in pixels."""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from frostline.config.ranges import Positive
from frostline.contracts.specs import ImageSpec, Spec
from frostline.data.modality import Given
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.reading import upright_size
from frostline.data.predicting import Opened, Predicting
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, counted
from frostline.faults import at_once

FAR = 2  # a picture stretched by more in one direction is counted


class WholePictureModality(PictureModality):
    """PictureModality with `ImageSpec.stretched`. The YAML of a reader with this modality explains `sides`; null
    derives them from the pictures of the first split.

    Raises ConfigError for sides that the network cannot take, DataError for pictures whose size cannot be read."""

    def __init__(
        self, spec: Spec, *, image_size: Positive[int] | None, sides: list[Positive[int]] | None, **of_pictures: Any
    ) -> None:
        _require_pair("data.sides", sides)
        super().__init__(spec, image_size=image_size, **of_pictures)
        self.sides = sides
        self._read_sizes: list[tuple[int, int]] | None = None
        self._stretched = 0  # pictures whose aspect ratio changes by more than FAR
        if sides is not None:
            self._stretch(sides)

    def read(self, given: Given) -> None:
        if self.sides is None:
            ratio = statistics.median(height / width for width, height in self._sizes(given))
            self.sides = _usual_sides(self.spec, ratio)
            self._stretch(self.sides)
        super().read(given)
        height, width = self.spec.sides
        sizes = [size for samples in given.samples if samples is not None for size in self._sizes_of(samples)]
        self._stretched = sum(not 1 / FAR <= own * height / (other * width) <= FAR for own, other in sizes)

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        height, width = self.spec.sides
        subject = counted(self._stretched, "picture is", "pictures are")
        far = f"{subject} stretched by more than {FAR} in one direction at {height} × {width} (data.sides)"
        return [*super().notes(splits), *([far] if self._stretched else [])]

    def _sizes(self, given: Given) -> list[tuple[int, int]]:
        """Width and height of the pictures of the first split that exists. Raises DataError."""
        if self._read_sizes is None:
            self._read_sizes = self._sizes_of(next(samples for samples in given.samples if samples is not None))
        return self._read_sizes

    def _sizes_of(self, samples: Any) -> list[tuple[int, int]]:
        known: list[tuple[int, int]] | None = getattr(samples, "sizes", None)  # a reader may have measured them
        return known or at_once(upright_size, [*samples.files], "pictures cannot be read")

    def _stretch(self, sides: list[int]) -> None:
        _require_sides(sides, self.spec)
        self.spec = replace(self.spec, stretched=(sides[0], sides[1]))

    def chosen(self) -> dict[str, Any]:
        return super().chosen() | {"data.sides": self.sides}


class TiledPictureModality(WholePictureModality):
    """WholePictureModality whose predictions are joined from tiles. The reader's YAML explains `tile`; null derives it
    from the pictures of the first split."""

    def __init__(self, spec: Spec, *, tile: list[Positive[int]] | None, **of_pictures: Any) -> None:
        _require_pair("data.tile", tile)
        super().__init__(spec, **of_pictures)
        self.tile = tile

    def read(self, given: Given) -> None:
        if self.tile is None:
            self.tile = [int(statistics.median(side)) for side in zip(*self._sizes(given), strict=True)][::-1]
        super().read(given)

    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        from frostline.data.pictures.predicting import PicturePredicting  # imports pyarrow, which no training needs

        return PicturePredicting(run, self.spec, grey_range=self.grey_range, tile=self.tile)

    def chosen(self) -> dict[str, Any]:
        return super().chosen() | {"data.tile": self.tile}


def _usual_sides(spec: ImageSpec, ratio: float) -> list[int]:
    """Sides for the median picture: the shorter is the spec's size, the other follows from ratio: height / width."""
    short = spec.size
    if spec.sizes == "fixed":
        return [short, short]
    if spec.sizes == "square":
        ratio = 1.0
    return [_fitting(it, spec) for it in (short * max(ratio, 1), short * max(1 / ratio, 1))]


def _fitting(side: float, spec: ImageSpec) -> int:
    """The nearest side that the network takes."""
    return max(round(side / spec.multiple), -(-spec.min_size // spec.multiple)) * spec.multiple


def _require_pair(key: str, pair: list[int] | None) -> None:
    if pair is not None and len(pair) != 2:
        raise ConfigError(
            f"two sides are needed, not {len(pair)}",
            where=key,
            next_step=f"{key}=[{pair[0]},{pair[-1]}]" if pair else f"{key}=[256,256]",
        )


def _require_sides(sides: list[int], spec: ImageSpec) -> None:
    """Raises ConfigError if the network does not take pictures of these sides."""
    problem = f"each side must be a multiple of {spec.multiple} from {_fitting(0, spec)} up"
    fitting = [_fitting(side, spec) for side in sides]
    if spec.sizes == "fixed":
        problem, fitting = f"this backbone takes pictures of {spec.size} pixels only", [spec.size, spec.size]
    elif spec.sizes == "square" and len({*fitting}) > 1:
        problem, fitting = f"this backbone takes squares only, and {problem}", [max(fitting)] * 2
    if sides != fitting:
        raise ConfigError(
            f"{problem}, not {sides[0]} × {sides[1]}",
            where="data.sides",
            next_step=f"data.sides=[{fitting[0]},{fitting[1]}]",
        )
