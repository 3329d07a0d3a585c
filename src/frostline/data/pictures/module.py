"""The LightningDataModule of pictures: preprocessing and augmentation. A kind of data says only where pictures lie."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from frostline.config.ranges import NonNegative, Positive, Probability
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec, Spec
from frostline.data.module import Data
from frostline.data.parts import Part, named
from frostline.data.pictures.augment import Augment, evaluation_view
from frostline.data.pictures.grey import (
    Range,
    Setting,
    chosen_range,
    deep_of,
    grey_notes,
    require_one_kind,
    require_range,
)
from frostline.data.pictures.repeats import picture_repeats
from frostline.data.pictures.sources import FilePictures, Pictures, keep_or_hold
from frostline.errors import ConfigError


class PictureData(Data):
    """spec: of the backbone. The rest is explained in conf/data/_base.yaml.

    Raises as `Data` does, and ConfigError where the backbone does not take pictures.
    """

    spec: ImageSpec
    samples = "pictures"
    plainly = "pictures without augmentation"
    kept_as: ClassVar[Literal["decoded"]] = "decoded"
    grey: Range | None = None  # of pictures of more than 8 bits
    grey_notes: Sequence[str] = ()

    def __init__(
        self,
        spec: Spec,
        *,
        image_size: Positive[int] | None,
        augment: Literal["none", "standard", "strong"],
        flip: bool,
        erase: Probability,
        num_workers: NonNegative[int] | None,
        **common: Any,
    ) -> None:
        self.spec = _of_pictures(spec).at(image_size)
        self.num_workers = num_workers
        super().__init__(**common)
        self.train_part.whole = augment != "none"
        self._views: int | None = None
        self._first_epoch = 0
        keep_or_hold([part.source for part in self.parts], self.sample_cache, self.name)
        train = self.train_part.source
        assert isinstance(train, Pictures)
        self._cut = train.cut
        of_all: dict[str, Any] = {"spec": self.spec, "target": self.target, "num_classes": len(self.names)}
        self.augment = Augment(augment, flip=flip, erase=erase, seed=self.seed, cut=self._cut, **of_all)

    def notes(self) -> list[str]:
        return [*super().notes(), *self.grey_notes, *picture_repeats(dict(named(self.parts))).told()]

    def scale_grey(self, sources: Iterable[FilePictures], setting: Setting) -> None:
        """One range of grey for all of them. setting: of data.grey_range. Raises ConfigError."""
        require_range(setting)
        several = list(sources)
        deep = deep_of([file for pictures in several for file in pictures.files])
        require_one_kind(setting, deep, self.where)
        self.grey = chosen_range(setting, deep)
        self.grey_notes = grey_notes(deep, self.grey)
        for pictures in several:
            pictures.grey = self.grey

    def look(self) -> dict[str, Any]:
        grey = {} if self.grey is None else {"grey_range": list(self.grey)}
        size = list(self.spec.sides) if self.spec.stretched is not None else self.spec.size
        return {"image_size": size, "augment": self.augment.describe(), **grey}

    def example(self, *, longest: bool = False) -> Tensor:
        """(1, 3, H, W): all are of one size."""
        return torch.zeros(1, 3, *self.spec.sides).contiguous(memory_format=torch.channels_last)

    def size_said(self) -> str:
        return "{} × {} pixels".format(*self.spec.sides)

    # --- views ---

    def show(self, views: int | None, first_epoch: int) -> None:
        self._views = views
        self._first_epoch = first_epoch

    @property
    def could_augment(self) -> bool:  # type: ignore[override]
        return self.augment.strength is not None

    @property
    def augments(self) -> bool:  # type: ignore[override]
        return self.could_augment and self._views != 0

    @property
    def augmentation(self) -> Sequence[Any]:  # type: ignore[override]
        return self.augment.describe()

    @property
    def mixes(self) -> bool:  # type: ignore[override]
        return self.augment.mixes

    def seen(self, part: Part, places: list[int], view: int | None, device: torch.device) -> Tensor:
        """(B, 3, H, W)."""
        batch = self._batch(part, places, view)
        sizes = None if batch.sizes is None else batch.sizes.to(device)
        batch = batch._replace(inputs=batch.pictures.to(device), sample=batch.sample.to(device), sizes=sizes)
        return self._viewed(batch) if view is None else self.augment(batch, view, alone=True).pictures

    def targets_of(self, part: Part, chosen: Tensor, view: int | None) -> tuple[Tensor, Tensor | None]:
        targets, sizes = part.targets(chosen)
        return (targets if view is None else self.augment.follow(targets, chosen, view)), sizes

    def chosen(self) -> dict[str, Any]:
        scale = {} if self.grey is None else {"data.grey_range": list(self.grey)}
        return super().chosen() | scale

    def _viewed(self, batch: Batch) -> Tensor:
        return evaluation_view(batch.pictures, self.spec, cut=self._cut)

    def _views_in_turn(self) -> list[int | None]:
        return list(range(self._first_epoch, self._first_epoch + self._views)) if self._views else []

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if batch.passed:
            return batch
        if self.trainer is not None and self.trainer.training and self.augments:
            view = self._view_of(self.trainer.current_epoch)
            return self.augment(batch, view, alone=bool(self._views))  # views in turn are those that may be kept
        return batch._replace(inputs=self._viewed(batch))

    def _view_of(self, epoch: int) -> int:
        return self._first_epoch + (epoch - self._first_epoch) % self._views if self._views else epoch


def _of_pictures(spec: Spec) -> ImageSpec:
    """Raises ConfigError where the model takes something else."""
    if not isinstance(spec, ImageSpec):
        raise ConfigError(
            f"this backbone takes {spec.kind}, and this data is pictures",
            where="model, data",
            next_step="a picture backbone (model=resnet50), or text data (data=text_csv)",
        )
    return spec
