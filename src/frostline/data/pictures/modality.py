"""The modality of pictures: decode them, cache them, preprocess and augment them for the network."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from frostline.config.ranges import NonNegative, Positive, Probability
from frostline.contracts.specs import ImageSpec, Spec
from frostline.data.modality import Given, Modality, narrowed
from frostline.data.pictures.augment import Augment, require_erasable
from frostline.data.pictures.grey import (
    Range,
    Setting,
    fixed_range,
    range_of,
    require_range,
)
from frostline.data.pictures.repeats import picture_repeats
from frostline.data.pictures.sources import Pictures, keep_or_hold
from frostline.data.predicting import Opened, Predicting
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError

LOOKED_AT = 100  # pictures whose headers are read for the page


class PictureModality(Modality):
    """Serves what a picture reader found (`PictureSamples` per split) at the size that the backbone takes.

    The settings are explained in conf/data/_base.yaml. Raises ConfigError for a backbone that does not take pictures,
    and for settings that do not fit together."""

    spec: ImageSpec
    samples = "pictures"
    hub_name = "image"
    plainly = "pictures without augmentation"
    kept_as: ClassVar[Literal["decoded"]] = "decoded"

    def __init__(
        self,
        spec: Spec,
        *,
        image_size: Positive[int] | None,
        augment: Literal["none", "standard", "strong"],
        flip: bool,
        erase: Probability,
        grey_range: Setting,
        num_workers: NonNegative[int] | None,
    ) -> None:
        step = "a picture backbone (model=resnet50), or text data (data=text_csv)"
        self.spec = narrowed(spec, ImageSpec, self.samples, step).at(image_size)
        require_erasable(augment, erase)
        require_range(grey_range)
        self.augment: dict[str, Any] = {"level": augment, "flip": flip, "erase": erase}
        self.num_workers = num_workers
        self.grey_range = grey_range
        self.grey = fixed_range(grey_range)  # range of grey pictures with more than 8 bits
        self.grey_notes: Sequence[str] = ()
        self.read_notes: Sequence[str] = ()

    def read(self, given: Given) -> None:
        self.grey = self._grey_range(given, self.grey_range)
        self.read_notes, self._name, self._cache = given.notes, given.name, given.cache
        found = {id(it): it for it in given.samples if it is not None}
        made = {key: it.source(self.spec, self.grey, given.cache, given.name) for key, it in found.items()}
        train, val, test = (None if it is None else made[id(it)] for it in given.samples)
        assert train is not None
        self.sources = train, val, test

    def _grey_range(self, given: Given, setting: Setting) -> Range | None:
        """Choose one range of grey for all splits. Raises DataError if no range fits all."""
        files = [file for samples in given.samples if samples is not None for file in samples.files]
        grey, self.grey_notes = range_of(files, setting, given.where)
        return grey

    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> Augment:
        """Decode the pictures of files now, if they can be cached or held in memory."""
        keep_or_hold([split.source for split in splits.values()], self._cache, self._name)
        train = next(iter(splits.values())).source
        assert isinstance(train, Pictures)
        fixed: dict[str, Any] = {"spec": self.spec, "target": target, "num_classes": len(names)}
        return Augment(**self.augment, seed=seed, cut=train.cut, **fixed)

    def look(self) -> dict[str, Any]:
        grey = {} if self.grey is None else {"grey_range": list(self.grey)}
        return {"image_size": list(self.spec.sides) if self.spec.stretched is not None else self.spec.size, **grey}

    def example(self, train: Split, *, longest: bool = False) -> Tensor:
        """(1, 3, H, W): all inputs have one size."""
        return torch.zeros(1, 3, *self.spec.sides).contiguous(memory_format=torch.channels_last)

    def size_of(self, train: Split) -> str:
        return "{} × {} pixels".format(*self.spec.sides)

    def describe(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """Sizes of training pictures as they were found."""
        sizes = _sizes_of(splits["train"]) if "train" in splits else None
        return {"sizes": sizes} if sizes else {}

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        sources = {id(split.source): split.source for split in splits.values()}.values()
        of_sources = [note for it in sources if isinstance(it, Pictures) for note in it.notes()]
        return [*self.grey_notes, *picture_repeats(splits).told(), *self.read_notes, *of_sources]

    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        from frostline.data.pictures.predicting import PicturePredicting  # imports pyarrow, which no training needs

        return PicturePredicting(run, self.spec, grey_range=self.grey_range)

    def chosen(self) -> dict[str, Any]:
        return {} if self.grey is None else {"data.grey_range": list(self.grey)}


def _sizes_of(split: Split) -> dict[str, Any]:
    """Width and height in pixels of the pictures with the smallest, the median and the largest area, and of how many,
    at most LOOKED_AT from all of the split; empty if none can be read."""
    sizes = []
    for index in split.index[:: -(-len(split) // LOOKED_AT)].tolist():
        with suppress(DataError):  # reported where the picture is decoded
            sizes.append(split.source.size_of(index))  # type: ignore[attr-defined]
    sizes.sort(key=prod)
    places = {"smallest": 0, "median": len(sizes) // 2, "largest": -1} if sizes else {}
    found: dict[str, Any] = {name: "{} × {} pixels".format(*sizes[place]) for name, place in places.items()}
    return found | ({"pictures_looked_at": len(sizes)} if 0 < len(sizes) < len(split) else {})
