"""The LightningDataModule of every data set: it joins a reader, which found samples, and a modality, which shows them.

`data_of` (data/composed.py) builds it. Subclasses are not needed: a new layout of files is a Reader, a new kind of
sample a Modality.
"""

import hashlib
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.contracts.batch import Batch
from frostline.contracts.specs import Spec
from frostline.contracts.targets import Targets
from frostline.contracts.tree import Value
from frostline.data.division import Division
from frostline.data.identity_batches import IdentityBatches, per_identity_of
from frostline.data.loader import BUCKET, EpochBatches, usual_batch
from frostline.data.modality import Modality
from frostline.data.part import seen
from frostline.data.ranked import name_users, ranked, ranking_notes
from frostline.data.reader import Found, Reader
from frostline.data.sampling import Sampling
from frostline.data.source import Source, named_targets
from frostline.data.split import Serve, Split, Transfers, loader, named
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, DataError, few


@final
class Data(Transfers):
    """Splits, views and loaders of one data set.

    found: what `reader` found and `modality` was built from. target: the type that the task learns. known: the targets
    of a run that is scored on these samples; all splits are then the test split, or the train split without one.

    Raises DataError if the samples cannot be split, nothing can be learned from them, or their names are not `known`.
    """

    def __init__(
        self,
        reader: Reader,
        found: Found,
        modality: Modality,
        sampling: Sampling,
        *,
        target: TargetType,
        known: Targets | None = None,
    ) -> None:
        super().__init__()
        self.reader = reader
        self.name: str = reader.name
        self.where = reader.where
        self.modality = modality
        self.target = target
        self.names = found.names
        self.seed = sampling.seed
        self.batch_size_is_open = sampling.batch_size == "auto"  # until the model is known, with which it has to fit
        self.batch_size_why = ""  # why `auto` chose it: a clause for messages
        self.serve: Serve = lambda split, views: None
        self._done = (-1, 0)  # epoch, and batches trained in it before a resume
        self._turns: int | None = None  # number of views that epochs take in turn; None: each epoch has its own
        self._first_epoch = 0
        if found.users is not None:
            name_users(found.users, modality.sources)
        division = Division(reader, target, found, modality.sources, modality.samples)
        if known is not None:
            self._require_names(known)
        self.splits = division.whole() if known is not None else division.splits(sampling)
        self.train_split, self.val_split, self.test_split = self.splits
        self.unlimited = division.unlimited
        if known is None:
            self.names = target.settled(found.names, dict(named(self.splits)))
        self._division_notes = [*division.notes, *target.examine(dict(named(self.splits)), self.names, self.where)]
        self.per_identity: int | None = None  # samples of each name in a training batch
        self._per_identity = sampling.per_identity if known is None else None
        self.targets = known or self._described(found)
        self._division_notes += ranking_notes(found.users, self.targets, dict(named(self.splits)))
        size = sampling.batch_size if known is None or isinstance(sampling.batch_size, int) else 1
        self.batch_size = usual_batch(len(self.train_split)) if size is None else 1 if size == "auto" else size
        self.views = modality.prepare(dict(named(self.splits)), target, found.names, sampling.seed)

    def _require_names(self, known: Targets) -> None:
        first = self.names[: len(known.names)] if self.target.divides_names else self.names
        if first != known.names:
            raise DataError(
                f"these samples have other classes or columns than the run: {few(self.names, 10)}",
                where=self.where,
                next_step=f"data with targets among: {few(known.names, 10)}",
            )

    def _described(self, found: Found) -> Targets:
        targets = self.target.describe(self.names, self.train_split.labels)
        self.target.require_learnable(targets, len(self.train_split), self.where)
        by_user = {} if found.users is None else ranked(found.users, self.target, targets, self.splits)
        learned = self.modality.learned(dict(named(self.splits)))
        return replace(targets, about=targets.about | dict(found.about) | by_user | learned)

    @property
    def spec(self) -> Spec:
        return self.modality.spec

    def shares(self) -> dict[str, float]:
        """Distinct inputs of each part per sample of training and validation."""
        samples = len(self.train_split) + len(self.val_split)
        return {name: len(part.used) / samples for name, part in self.modality.parts.items()}

    # --- description ---

    @property
    def classes(self) -> list[str]:
        """Names of classes, labels or tags; empty for numbers."""
        return self.names if self.target.has_classes else []

    def describe(self) -> dict[str, Any]:
        """Entries of run.json."""
        return {
            "name": self.name,
            "num_train": len(self.train_split),
            "num_val": len(self.val_split),
            "num_test": len(self.test_split),
            "classes": self.classes,
            "targets": asdict(self.targets),
            "fingerprint": self.fingerprint,
            **named_targets(self.modality.sources),
            "inputs": self.modality.size_of(self.train_split),
            **self.modality.describe(dict(named(self.splits))),
        }

    def summary(self) -> str:
        """One line: numbers of samples, their size, batch size and most frequent target."""
        splits = ", ".join(f"{len(split):,} {name}" for name, split in named(self.splits))
        targets = self.target.frequencies(self.targets, len(self.train_split))
        size, batches = self.modality.size_of(self.train_split), f"{self.batch_size:,}"
        if self.per_identity is not None:
            together = self._batches(self.train_split, shuffle=True, rank=0, world_size=1).sizes[0]
            batches = f"{together // self.per_identity} × {self.per_identity}"
        return f"{splits} {self.modality.samples} of {size}, {batches} a batch; {targets}"

    def notes(self) -> list[str]:
        """Sentences that a user should read before the run."""
        return [*self.target.notes(self.targets), *self._division_notes, *self.modality.notes(dict(named(self.splits)))]

    def look(self) -> dict[str, Any]:
        """Settings that change the network's inputs, as plain values. A resume compares them."""
        batches = {} if self.per_identity is None else {"per_identity": self.per_identity}
        return self.modality.look() | self.views.look() | batches

    def chosen(self) -> dict[str, Any]:
        """Values that were derived from the data for settings that are null, by config key."""
        return {"data.batch_size": self.batch_size} | self.modality.chosen()

    def example(self, *, longest: bool = False) -> Value:
        """Return an input (1, ...) of the network, as large as the mean training sample, or as the longest."""
        return self.modality.example(self.train_split, longest=longest)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of samples and targets, independent of where they lie. Reads all samples."""
        sources: dict[int, Source] = {id(it): it for it in self.modality.sources if it is not None}
        return "-".join(source.fingerprint(self.target) for source in sources.values())

    def test_digest(self) -> str:
        """Digest of the samples, labels and indices of the test split, the same for every network."""
        source = self.test_split.source.fingerprint(self.target, as_found=True)
        return hashlib.blake2b(source.encode() + self.test_split.index.numpy().tobytes(), digest_size=16).hexdigest()

    def splits_digest(self) -> str:
        """Digest of the indices of each split."""
        digest = hashlib.blake2b(digest_size=16)
        for split in self.splits:
            digest.update(split.index.numpy().data)
        return digest.hexdigest()

    # --- views ---

    def show(self, views: int | None, first_epoch: int) -> None:
        """Choose the views of training samples: new ones in each epoch (None), not augmented (0), or `views` of them in
        turn, those of the epochs from `first_epoch` on."""
        self._turns = views
        self._first_epoch = first_epoch

    @property
    def augments(self) -> bool:
        """Whether training samples are augmented, by the last `show`."""
        return self.views.could_augment and self._turns != 0

    def seen(self, split: Split, places: list[int], view: int | None, device: torch.device) -> Any:
        """See `data.part.seen`."""
        return seen(split, places, view, device, self.views)

    def targets_of(self, split: Split, chosen: Tensor, view: int | None) -> tuple[Any, Tensor | None]:
        """`Split.targets` of samples augmented as in epoch `view`; None for no augmentation."""
        targets, sizes = split.targets(chosen)
        return (targets if view is None else self.views.follow(targets, chosen, view)), sizes

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if batch.passed and not self.modality.parts:
            return batch
        if self.trainer is not None and self.trainer.training and self.augments:
            view = self._view_of(self.trainer.current_epoch)
            return self.views.augmented(batch, view, alone=bool(self._turns))  # views in turn may be cached
        return self.views.plain(batch)

    def _view_of(self, epoch: int) -> int:
        return self._first_epoch + (epoch - self._first_epoch) % self._turns if self._turns else epoch

    def _views_in_turn(self) -> list[int | None]:
        return list(range(self._first_epoch, self._first_epoch + self._turns)) if self._turns else []

    # --- loaders ---

    def batches_of(self, split: Split) -> int:
        """Number of batches in one pass over a split."""
        return len(self._batches(split, shuffle=split is self.train_split, rank=0, world_size=1))

    def compose_batches(self, wanted: int | None) -> None:
        """Fill `data.per_identity=auto`: training batches have `wanted` samples of each of their names; None: any
        samples. Raises ConfigError for targets without identities, DataError if no name has that number of samples."""
        is_open = self._per_identity == "auto"
        number = wanted if is_open else self._per_identity
        if not isinstance(number, int):
            return
        if not self.target.divides_names:
            raise ConfigError(
                "data.per_identity composes batches of identities, and this task learns none",
                where="data.per_identity",
                next_step="data.per_identity=auto",
            )
        labels = self.train_split.labels
        self.per_identity, fewer = per_identity_of(labels, number, is_open=is_open, where=self.where)
        self._division_notes += fewer

    @property
    def num_batches(self) -> int:
        """Number of batches in a full training epoch."""
        return self.batches_of(self.train_split)

    def batches_per_epoch(self, limit: int | float | None) -> int:
        """Number of batches under Lightning's `limit_train_batches`: a number, or a fraction of the epoch."""
        if limit is None:
            return self.num_batches
        return min(limit, self.num_batches) if isinstance(limit, int) else max(1, int(limit * self.num_batches))

    def train_dataloader(self) -> DataLoader[Batch | DataError]:
        split = Split(self.train_split.source, self.train_split.index, whole=self.augments)
        return self._loader(split, shuffle=True, views=self._views_in_turn() if self.augments else [None])

    def val_dataloader(self) -> DataLoader[Batch | DataError]:
        return self._loader(self.val_split, shuffle=False, views=[None])

    def test_dataloader(self) -> DataLoader[Batch | DataError]:
        return self._loader(self.test_split, shuffle=False, views=[None])

    def resume_at(self, epoch: int, batches: int) -> None:
        """Let the loader of `epoch` skip the first `batches`, which were trained before the resume."""
        self._done = epoch, batches

    def _batches(self, split: Split, *, shuffle: bool, rank: int, world_size: int) -> EpochBatches:
        if shuffle and self.per_identity is not None:
            size, tokens = self.batch_size, self.modality.max_tokens
            if split.lengths is not None and tokens is not None:  # every batch may have the longest texts
                size = min(size, tokens // ((int(split.lengths.max() - 1) // BUCKET + 1) * BUCKET))
            place = {"rank": rank, "world_size": world_size}
            return IdentityBatches(split.labels, size, self.per_identity, seed=self.seed, **place)
        return EpochBatches(
            len(split),
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            lengths=split.lengths,
            max_tokens=self.modality.max_tokens,
            bucket=self.modality.bucket,
        )

    def _loader(self, split: Split, *, shuffle: bool, views: list[int | None]) -> DataLoader[Batch | DataError]:
        if self.trainer is None:
            raise RuntimeError("loaders are made for a Trainer")
        if len(split) < self.trainer.world_size:
            samples = self.modality.samples
            raise DataError(
                f"a split of {len(split)} {samples} cannot be shared by {self.trainer.world_size} processes",
                where=self.where,
                next_step=f"add {samples}, or trainer.devices=1",
            )
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        batches = self._batches(split, shuffle=shuffle, rank=rank, world_size=world_size)
        batches.set_epoch(self.trainer.current_epoch)
        if shuffle:
            batches.resume_at(*self._done)
        kept = self.serve(split, views)
        if kept is not None:
            return loader(kept, batches, 0)
        return loader(split, batches, 0 if split.source.in_memory else self.modality.num_workers)
