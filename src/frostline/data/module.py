"""The LightningDataModule of pictures: parts, loaders, preprocessing. A kind of data says only where pictures lie."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.batch import Batch
from frostline.data.augment import Augment, evaluation_view
from frostline.data.decoded import NOWHERE, PixelCache
from frostline.data.loader import EpochBatches
from frostline.data.parts import Part, PictureSet, Serve, loader
from frostline.data.pictures import Pictures, keep_or_hold
from frostline.data.splits import balanced_subset, require_per_class, strata, stratified_split
from frostline.data.targets import counts_of, require_learnable, targets_of
from frostline.errors import ConfigError, DataError
from frostline.specs import ImageSpec, Spec
from frostline.targets import SAID, Kind
from frostline.values import Fraction, NonNegative, Positive, Probability, Seed


class Transfers(L.LightningDataModule):
    def on_before_batch_transfer(self, batch: Batch | DataError, dataloader_idx: int) -> Batch:
        """Raises the DataError that a loader met."""
        if isinstance(batch, DataError):
            raise batch
        return batch


class PictureData(Transfers):
    """spec: of the backbone. target_kind: what the task learns from. pixel_cache: where decoded pictures are kept.
    The rest is explained in conf/data/_base.yaml.

    A kind of data sets `name` and `where` (its folder) for messages, and the `kinds` of targets that it can have, and
    reads. Raises DataError where the pictures cannot make the parts, ConfigError where the backbone does not take
    pictures, or the task not such targets.
    """

    name: str
    where: object
    kinds: tuple[Kind, ...] = ("class",)

    def __init__(
        self,
        spec: Spec,
        *,
        batch_size: Positive[int] | Literal["auto"],
        image_size: Positive[int] | None,
        augment: Literal["none", "standard", "strong"],
        flip: bool,
        erase: Probability,
        train_limit: Positive[int] | None,
        val_fraction: Fraction,
        test_fraction: Fraction,
        split_seed: Seed,
        num_workers: NonNegative[int] | None,
        seed: Seed,
        target_kind: Kind = "class",
        pixel_cache: PixelCache = NOWHERE,
    ) -> None:
        super().__init__()
        self.spec = _fitting(spec, target_kind, self.kinds).at(image_size)
        self.target_kind = target_kind
        self.pixel_cache = pixel_cache
        self.batch_size_is_open = batch_size == "auto"  # until what trains is known, with which it has to fit
        self.batch_size = 1 if batch_size == "auto" else batch_size
        self.seed = seed
        self.num_workers = num_workers
        self._done = (-1, 0)
        self._views: int | None = None
        self._first_epoch = 0
        self.serve: Serve = lambda part, views: None
        parts = self.read()
        self.names = parts.names
        train, val, test = self._split(parts, val_fraction, test_fraction, split_seed)
        if train_limit is not None:
            layers = strata(target_kind, train[0].labels[train[1]])
            train = train[0], train[1][balanced_subset(layers, train_limit, seed)]
        self.train_part = Part(*train, whole=augment != "none")
        self.val_part = Part(*val, whole=False)
        self.test_part = Part(*test, whole=False)
        self._require_parts()
        self.targets = targets_of(target_kind, self.names, self.train_part.labels)
        require_learnable(self.targets, len(self.train_part), self.where)
        keep_or_hold([pictures for pictures, _ in (train, val, test)], self.pixel_cache, self.name)
        of_all: dict[str, Any] = {
            "spec": self.spec,
            "num_classes": len(self.names),
            "cut": self.train_part.pictures.cut,
        }
        self.augment = Augment(augment, flip=flip, erase=erase, seed=seed, **of_all)

    @abstractmethod
    def read(self) -> PictureSet:
        """Find the pictures. Raises DataError."""

    # --- parts ---

    def _split(
        self, parts: PictureSet, val_fraction: float, test_fraction: float, seed: int
    ) -> tuple[tuple[Pictures, Tensor], tuple[Pictures, Tensor], tuple[Pictures, Tensor]]:
        if parts.val is None or parts.test is None:
            pieces = ["training"] + ["validation"] * (parts.val is None) + ["test"] * (parts.test is None)
            counts = counts_of(self.target_kind, self.names, parts.train.labels)
            reason = f"one each for {', '.join(pieces)}"
            require_per_class(counts, len(pieces), where=self.where, reason=reason)
        layers = strata(self.target_kind, parts.train.labels)
        rest = torch.arange(len(layers))
        test = (parts.test, torch.arange(len(parts.test.labels))) if parts.test is not None else None
        if test is None:
            kept, taken = stratified_split(layers, test_fraction, seed, keep=2 if parts.val is None else 1)
            test, rest = (parts.train, rest[taken]), rest[kept]
        val = (parts.val, torch.arange(len(parts.val.labels))) if parts.val is not None else None
        if val is None:
            kept, taken = stratified_split(layers[rest], val_fraction, seed)
            val, rest = (parts.train, rest[taken]), rest[kept]
        return (parts.train, rest), val, test

    def _require_parts(self) -> None:
        counts = counts_of(self.target_kind, self.names, self.train_part.labels)
        require_per_class(counts, 1, where=self.where, reason="training (data.train_limit)")
        for name, part in (("validation", self.val_part), ("test", self.test_part)):
            if len(part) == 0:
                raise DataError(
                    f"the {name} part has no pictures",
                    where=self.where,
                    next_step="put pictures there, or leave that part out, so that it is split off the training part",
                )

    @property
    def classes(self) -> list[str]:
        """And labels; numbers have none."""
        return [] if self.target_kind == "numbers" else self.names

    def describe(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "name": self.name,
            "num_train": len(self.train_part),
            "num_val": len(self.val_part),
            "num_test": len(self.test_part),
            "classes": self.classes,
            "targets": asdict(self.targets),
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same pictures with the same labels, wherever they lie. It reads all of them."""
        sources = {id(part.pictures): part.pictures for part in (self.train_part, self.val_part, self.test_part)}
        return "-".join(pictures.fingerprint for pictures in sources.values())

    def parts_digest(self) -> str:
        """Which pictures lie in which part."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.train_part, self.val_part, self.test_part):
            digest.update(part.index.numpy().data)
        return digest.hexdigest()

    def part_digest(self, part: Part) -> str:
        """The same for the same pictures in the same order, whatever their targets."""
        digest = hashlib.blake2b(part.pictures.content.encode(), digest_size=16)
        digest.update(part.index.numpy().data)
        return digest.hexdigest()

    # --- views ---

    def show(self, views: int | None, first_epoch: int) -> None:
        """From now on, training pictures are augmented anew in each epoch (None), not at all (0), or as in the epochs
        from `first_epoch` on, `views` of them in turn."""
        self._views = views
        self._first_epoch = first_epoch

    @property
    def augments(self) -> bool:
        return self.augment.strength is not None and self._views != 0

    def seen(self, part: Part, places: list[int], view: int | None, device: torch.device) -> Tensor:
        """What the network takes, (B, 3, S, S); view: as augmented in that epoch, None without. Raises DataError."""
        batch = Part(part.pictures, part.index, whole=view is not None).__getitems__(places)
        if isinstance(batch, DataError):
            raise batch
        sizes = None if batch.sizes is None else batch.sizes.to(device)
        batch = batch._replace(inputs=batch.inputs.to(device), sample=batch.sample.to(device), sizes=sizes)
        return self._viewed(batch) if view is None else self.augment(batch, view).inputs

    def _viewed(self, batch: Batch) -> Tensor:
        return evaluation_view(batch.inputs, self.spec, cut=self.train_part.pictures.cut)

    # --- loaders ---

    @property
    def num_batches(self) -> int:
        """Of a whole epoch of training."""
        return -(-len(self.train_part) // self.batch_size)

    def batches_per_epoch(self, limit: int | float | None) -> int:
        """limit: Lightning's `limit_train_batches`, a number of batches or a share of them."""
        if limit is None:
            return self.num_batches
        return min(limit, self.num_batches) if isinstance(limit, int) else max(1, int(limit * self.num_batches))

    def train_dataloader(self) -> DataLoader[Batch | DataError]:
        part = Part(self.train_part.pictures, self.train_part.index, whole=self.augments)
        return self._loader(part, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch | DataError]:
        return self._loader(self.val_part, shuffle=False)

    def test_dataloader(self) -> DataLoader[Batch | DataError]:
        return self._loader(self.test_part, shuffle=False)

    def resume_at(self, epoch: int, batches: int) -> None:
        """Training goes on in that epoch, after so many batches."""
        self._done = epoch, batches

    def _loader(self, part: Part, *, shuffle: bool) -> DataLoader[Batch | DataError]:
        if self.trainer is None:
            raise RuntimeError("loaders are made for a Trainer")
        if len(part) < self.trainer.world_size:
            raise DataError(
                f"a part of {len(part)} pictures cannot be shared by {self.trainer.world_size} processes",
                where=self.where,
                next_step="more pictures, or trainer.devices=1",
            )
        batches = EpochBatches(
            len(part),
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        batches.set_epoch(self.trainer.current_epoch)
        if shuffle:
            batches.resume_at(*self._done)
        views = (
            range(self._first_epoch, self._first_epoch + (self._views or 0)) if shuffle and self.augments else [None]
        )
        kept = self.serve(part, list(views))
        if kept is not None:
            return loader(kept, batches, 0)
        return loader(part, batches, 0 if part.pictures.in_memory else self.num_workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if batch.passed:
            return batch
        if self.trainer is not None and self.trainer.training and self.augments:
            return self.augment(batch, self._view_of(self.trainer.current_epoch))
        return batch._replace(inputs=self._viewed(batch))

    def _view_of(self, epoch: int) -> int:
        return self._first_epoch + (epoch - self._first_epoch) % self._views if self._views else epoch


def _fitting(spec: Spec, wanted: Kind, kinds: Sequence[Kind]) -> ImageSpec:
    """kinds: of targets that there are. Raises ConfigError where model and task do not go with the data."""
    if not isinstance(spec, ImageSpec):
        raise ConfigError(
            f"this backbone takes {spec.kind}, and this data is pictures",
            where="model, data",
            next_step="choose a picture backbone (model=resnet50) or text data",
        )
    if wanted not in kinds:
        raise ConfigError(
            f"this task learns from {SAID[wanted]}, and this data has {SAID[kinds[0]]}",
            where="task, data",
            next_step="task=classification, or data=image_csv, which reads targets of every kind",
        )
    return spec
