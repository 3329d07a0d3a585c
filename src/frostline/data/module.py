"""The LightningDataModule of any data: its parts, and how they are loaded. A family says what a sample is, a kind of
data only where samples lie."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.config.ranges import Fraction, Positive, Seed
from frostline.contracts.batch import Batch
from frostline.contracts.specs import Spec
from frostline.contracts.targets import Targets
from frostline.contracts.tokens import Tokens
from frostline.data.loader import EpochBatches, usual_batch
from frostline.data.parts import Part, Serve, Transfers, loader, named
from frostline.data.sample_cache import NOWHERE, SampleCache
from frostline.data.source import Source, Sources, every
from frostline.data.splits import balanced_subset, require_per_class, stratified_split
from frostline.data.target_types.find import require_kind, target_type
from frostline.errors import DataError, few


class Data(Transfers):
    """A family sets `samples`, what they are called, `plainly`, how without augmentation, and `kept_as`, the kind of
    store that keeps them once they are ready. A kind of data sets `name` and `where` (its folder or file) for
    messages, and the `kinds` of targets that it can have. target_kind: what the task learns from. sample_cache: where
    samples are kept once they are ready. known: the targets of a run that is scored on these samples: there is one
    part then, the test split if the data has one. The rest is explained in conf/data/_base.yaml and _text.yaml.

    Raises DataError where the samples cannot make the parts, ConfigError where the task cannot learn from such targets.
    """

    name: str
    where: object
    spec: Spec
    samples: ClassVar[str]
    plainly: ClassVar[str]
    kept_as: ClassVar[Literal["decoded", "tokens"]]
    kinds: ClassVar[tuple[str, ...]] = ("class",)
    max_tokens: int | None = None  # of a batch
    num_workers: int | None = 0  # None for one per core
    chooses: ClassVar[str | None] = None  # the setting that names the classes to use
    named_by: ClassVar[str] = ""  # the setting that names its place, `where`
    divides: ClassVar[str] = ""  # what tells the parts, where a user can

    def __init__(
        self,
        *,
        batch_size: Positive[int] | Literal["auto"] | None,
        train_limit: Positive[int] | None,
        val_fraction: Fraction,
        test_fraction: Fraction,
        split_seed: Seed,
        seed: Seed,
        target_kind: str = "class",
        sample_cache: SampleCache = NOWHERE,
        known: Targets | None = None,
    ) -> None:
        super().__init__()
        require_kind(target_kind, self.kinds)
        self.target = target_type(target_kind)
        self.batch_size_is_open = batch_size == "auto"  # until what trains is known, with which it has to fit
        self.batch_size_why = ""  # it was chosen, as a part of a sentence
        self.seed = seed
        self.sample_cache = sample_cache
        self.known_names = None if known is None else known.names
        self._done = (-1, 0)
        self.serve: Serve = lambda part, views: None
        sources = self.read()
        self.names = sources.names
        self._sources = [source for source in (sources.train, sources.val, sources.test) if source is not None]
        if known is not None:
            self._score_all(sources, known)
            self.batch_size = batch_size if isinstance(batch_size, int) else 1
            return
        train, val, test = self._split(sources, val_fraction, test_fraction, split_seed)
        if train_limit is not None:
            strata = self.target.strata(train[0].labels[train[1]])
            train = train[0], train[1][balanced_subset(strata, train_limit, seed)]
        self.train_part = Part(*train)
        self.val_part, self.test_part = Part(*val, scored=True), Part(*test, scored=True)
        self._require_parts()
        if batch_size is None:
            batch_size = usual_batch(len(self.train_part))
        self.batch_size = 1 if batch_size == "auto" else batch_size
        self.targets = self.target.describe(self.names, self.train_part.labels)
        self.target.require_learnable(self.targets, len(self.train_part), self.where)

    def _score_all(self, sources: Sources, known: Targets) -> None:
        if self.names != known.names:
            raise DataError(
                f"these samples have other classes or columns than the run: {few(self.names, 10)}",
                where=self.where,
                next_step=f"data with targets among: {few(known.names, 10)}",
            )
        source = sources.test or sources.train
        index = every(source)
        self.train_part, self.val_part, self.test_part = (Part(source, index, scored=True) for _ in range(3))
        self.targets = known

    @abstractmethod
    def read(self) -> Sources:
        """Find the samples. Raises DataError."""

    @abstractmethod
    def look(self) -> dict[str, Any]:
        """How samples are shown to the network, in plain values: what goes on from a checkpoint has to see the same."""

    @abstractmethod
    def example(self, *, longest: bool = False) -> Tensor | Tokens:
        """One input (1, ...) of the network as they are in the mean, or as large as the largest."""

    @abstractmethod
    def size_said(self) -> str:
        """How large the samples of training are."""

    # --- parts ---

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        return self.train_part, self.val_part, self.test_part

    def _split(
        self, sources: Sources, val_fraction: float, test_fraction: float, seed: int
    ) -> tuple[tuple[Source, Tensor], tuple[Source, Tensor], tuple[Source, Tensor]]:
        if sources.val is None or sources.test is None:
            pieces = ["training"] + ["validation"] * (sources.val is None) + ["test"] * (sources.test is None)
            self._require_of_each(len(pieces), sources.train.labels, f"one each for {', '.join(pieces)}")
        strata = self.target.strata(sources.train.labels)
        rest = torch.arange(len(strata))
        test = (sources.test, every(sources.test)) if sources.test is not None else None
        if test is None:
            kept, taken = stratified_split(strata, test_fraction, seed, keep=2 if sources.val is None else 1)
            test, rest = (sources.train, rest[taken]), rest[kept]
        val = (sources.val, every(sources.val)) if sources.val is not None else None
        if val is None:
            kept, taken = stratified_split(strata[rest], val_fraction, seed)
            val, rest = (sources.train, rest[taken]), rest[kept]
        return (sources.train, rest), val, test

    def _require_of_each(self, needed: int, labels: Tensor, reason: str) -> None:
        counts = self.target.counts(self.names, labels)
        require_per_class(counts, needed, where=self.where, reason=reason, setting=self.chooses, divides=self.divides)

    def _require_parts(self) -> None:
        self._require_of_each(1, self.train_part.labels, "training (data.train_limit)")
        for name, part in (("validation", self.val_part), ("test", self.test_part)):
            if len(part) == 0:
                raise DataError(
                    f"the {name} split has no {self.samples}",
                    where=self.where,
                    next_step=f"put {self.samples} there, or leave that part out, so that it is split off the training "
                    "part",
                )

    @property
    def classes(self) -> list[str]:
        """Labels and tags, too; numbers have none."""
        return self.names if self.target.has_classes else []

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

    def summary(self) -> str:
        """A line on what a run is about to learn from."""
        parts = ", ".join(f"{len(part):,} {name}" for name, part in named(self.parts))
        targets = self.target.frequencies(self.targets, len(self.train_part))
        return f"{parts} {self.samples} of {self.size_said()}, {self.batch_size:,} a batch; {targets}"

    def notes(self) -> list[str]:
        """What a user should know of the data before the run."""
        return self.target.notes(self.targets)

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same samples with the same targets, wherever they lie. It reads all of them."""
        sources = {id(source): source for source in self._sources}
        return "-".join(source.fingerprint(self.target) for source in sources.values())

    def parts_digest(self) -> str:
        """Which samples lie in which part."""
        digest = hashlib.blake2b(digest_size=16)
        for part in self.parts:
            digest.update(part.index.numpy().data)
        return digest.hexdigest()

    def part_digest(self, part: Part) -> str:
        """The same for the same samples in the same order, whatever their targets."""
        digest = hashlib.blake2b(part.source.content.encode(), digest_size=16)
        digest.update(part.index.numpy().data)
        return digest.hexdigest()

    # --- views ---

    augments = False  # training samples, in the phase that was begun
    could_augment = False  # whether there is an augmentation at all
    augmentation: Sequence[Any] = ()  # in plain values
    mixes = False  # whether what becomes of a sample depends on others of its batch

    def show(self, views: int | None, first_epoch: int) -> None:
        """From now on, training samples are augmented anew in each epoch (None), not at all (0), or as in the epochs
        from `first_epoch` on, `views` of them in turn."""

    def seen(self, part: Part, places: list[int], view: int | None, device: torch.device) -> Tensor | Tokens:
        """What the network takes; view: as augmented in that epoch, None without. Raises DataError."""
        return self.transfer_batch_to_device(self._batch(part, places, view), device, 0).inputs

    def _batch(self, part: Part, places: list[int], view: int | None) -> Batch:
        batch = Part(part.source, part.index, whole=view is not None, scored=part.scored).__getitems__(places)
        if isinstance(batch, DataError):
            raise batch
        return batch

    def targets_of(self, part: Part, chosen: Tensor, view: int | None) -> tuple[Tensor, Tensor | None]:
        """`Part.targets` of samples that are augmented as in epoch `view`, None without."""
        return part.targets(chosen)

    def chosen(self) -> dict[str, Any]:
        """What the data chose for itself, by key of the config."""
        return {"data.batch_size": self.batch_size}

    # --- loaders ---

    def batches_of(self, part: Part) -> int:
        """In an epoch, or an evaluation."""
        return len(self._batches(part, shuffle=False, rank=0, world_size=1))

    @property
    def num_batches(self) -> int:
        """Of a whole epoch of training."""
        return self.batches_of(self.train_part)

    def batches_per_epoch(self, limit: int | float | None) -> int:
        """limit: Lightning's `limit_train_batches`, a number of batches or a share of them."""
        if limit is None:
            return self.num_batches
        return min(limit, self.num_batches) if isinstance(limit, int) else max(1, int(limit * self.num_batches))

    def train_dataloader(self) -> DataLoader[Batch | DataError]:
        part = Part(self.train_part.source, self.train_part.index, whole=self.augments)
        return self._loader(part, shuffle=True, views=self._views_in_turn() if self.augments else [None])

    def val_dataloader(self) -> DataLoader[Batch | DataError]:
        return self._loader(self.val_part, shuffle=False, views=[None])

    def test_dataloader(self) -> DataLoader[Batch | DataError]:
        return self._loader(self.test_part, shuffle=False, views=[None])

    def _views_in_turn(self) -> list[int | None]:
        return [None]

    def resume_at(self, epoch: int, batches: int) -> None:
        """Training goes on in that epoch, after so many batches."""
        self._done = epoch, batches

    def _batches(self, part: Part, *, shuffle: bool, rank: int, world_size: int) -> EpochBatches:
        return EpochBatches(
            len(part),
            self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            lengths=part.lengths,
            max_tokens=self.max_tokens,
        )

    def _loader(self, part: Part, *, shuffle: bool, views: list[int | None]) -> DataLoader[Batch | DataError]:
        if self.trainer is None:
            raise RuntimeError("loaders are made for a Trainer")
        if len(part) < self.trainer.world_size:
            raise DataError(
                f"a split of {len(part)} {self.samples} cannot be shared by {self.trainer.world_size} processes",
                where=self.where,
                next_step=f"more {self.samples}, or trainer.devices=1",
            )
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        batches = self._batches(part, shuffle=shuffle, rank=rank, world_size=world_size)
        batches.set_epoch(self.trainer.current_epoch)
        if shuffle:
            batches.resume_at(*self._done)
        kept = self.serve(part, views)
        if kept is not None:
            return loader(kept, batches, 0)
        return loader(part, batches, 0 if part.source.in_memory else self.num_workers)
