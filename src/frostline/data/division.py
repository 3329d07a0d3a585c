"""Train, val and test: a split comes from the reader or is taken from the training samples, stratified and seeded."""

import torch
from torch import Tensor

from frostline.data.by_time import require_times, time_notes, time_split
from frostline.data.grouping import (
    fold_split,
    grouped_split,
    numbered,
    require_folds,
    require_groups,
    share_note,
    shared_groups,
)
from frostline.data.reader import Found, Reader
from frostline.data.sampling import Sampling, balanced_subset, require_per_class, stratified_split
from frostline.data.source import Source, every
from frostline.data.split import Split, named
from frostline.data.target_types.base import TargetType
from frostline.data.whole_names import joined, not_divisible, split_by_names, too_few
from frostline.errors import ConfigError, DataError

Chosen = tuple[Source, Tensor]


class Division:
    """Divides sources into splits. sources: of train, val and test; None for a split to take from train. samples: their
    plural in messages."""

    def __init__(
        self,
        reader: Reader,
        target: TargetType,
        found: Found,
        sources: tuple[Source, Source | None, Source | None],
        samples: str,
    ) -> None:
        self.reader = reader
        self.target = target
        self.names = found.names
        self.groups, self.slices = found.groups, found.slices
        self.times = found.times
        self.notes = shared_groups(found.groups)
        self.train, self.val, self.test = sources
        self.unlimited = self.train.labels[:0]  # targets of training before `train_limit`
        self.samples = samples

    def whole(self) -> tuple[Split, Split, Split]:
        """Return one split, three times, for scoring: the test split if there is one, else all of `train`."""
        source = self.test or self.train
        index = every(source)
        self.target.require_scorable(source.labels, "test", self.reader.where)
        train, val, test = (Split(source, index, scored=True) for _ in range(3))
        return train, val, test

    def splits(self, sampling: Sampling) -> tuple[Split, Split, Split]:
        """Return train, val and test. Raises DataError if a class has too few samples for the splits, or a split is
        empty."""
        require_folds(sampling.folds, sampling.fold)
        if self.times is not None:
            self._require_ordered(sampling.folds)
        (source, index), val, test = self._split(sampling)
        if self.times is not None:
            self.notes += time_notes(self.times, self._times_of({"train": index, "val": val[1], "test": test[1]}))
        self.unlimited = source.labels[index]
        self._require_training(self.unlimited, sampling.split_seed)
        if sampling.train_limit is not None:
            strata = self.target.strata(source.labels[index])
            limited = index[balanced_subset(strata, sampling.train_limit, sampling.seed)]
            if len(limited) < len(index):
                how = ", balanced over classes or ranges of numbers" if len(strata.unique()) > 1 else ""
                self.notes.append(f"{len(limited):,} of {len(index):,} training {self.samples} are used{how}")
            index = limited
            self._require_limit(source.labels[index], sampling.train_limit)
        splits = Split(source, index), Split(*val, scored=True), Split(*test, scored=True)
        for name, split in named(splits):
            own = "train" if split.source is self.train else name
            split.groups, split.slices = self.groups.get(own, ()), self.slices.get(own, {})
        for name, split in (("validation", splits[1]), ("test", splits[2])):
            if len(split) == 0:
                raise DataError(
                    f"the {name} split has no {self.samples}",
                    where=self.reader.where,
                    next_step=f"put {self.samples} into it, or remove it, so that it is taken from the training split",
                )
            self.target.require_scorable(split.labels, name, self.reader.where)
        return splits

    def _require_ordered(self, folds: int | None) -> None:
        """Raise ConfigError if samples are divided by time and otherwise too."""
        problem = "data.folds takes samples of all times" if folds is not None else ""
        if self.target.divides_names:
            problem = f"this task divides {self.target.plural}, not samples"
        if problem:
            raise ConfigError(
                f"{problem}, and data.split_by=time the latest ones",
                where="data.split_by",
                next_step="data.split_by=random data.time_column=null" + ("; or data.folds=null" if folds else ""),
            )

    def _times_of(self, splits: dict[str, Tensor]) -> dict[str, Tensor]:
        """Places of the times of each split. splits: indices in its own source, or in that of training."""
        assert self.times is not None
        places = self.times.places
        return {name: places.get(name, places["train"])[index] for name, index in splits.items()}

    def _require_training(self, labels: Tensor, seed: int) -> None:
        """Raise DataError if the training split lacks a class."""
        try:
            self._require_of_each(1, labels, "training")
        except DataError as error:
            if self.times is not None:
                raise DataError(
                    f"{error.what}; its samples are later than those of training",
                    where=error.where,
                    next_step="drop that class; or data.split_by=random data.time_column=null",
                ) from None
            is_given = self.val is not None and self.test is not None
            if is_given or "train" not in self.groups:
                raise
            raise DataError(
                f"{error.what}; its groups are in the validation or test split",
                where=error.where,
                next_step=f"data.split_seed={seed + 1}  # divides the groups otherwise",
            ) from None

    def _split(self, sampling: Sampling) -> tuple[Chosen, Chosen, Chosen]:
        if self.test is not None and sampling.folds is not None:
            raise ConfigError(
                "data.folds divides all samples, but this data has its own test split",
                where="data.folds",
                next_step="data.folds=null"
                + (f", or data without a test split ({self.reader.divides})" if self.reader.divides else ""),
            )
        missing = [name for name, own in (("val", self.val), ("test", self.test)) if own is None]
        groups = numbered(self.groups["train"]) if "train" in self.groups else None
        if self.target.divides_names:
            groups = joined(self.train.labels, groups)
        if missing:
            self._require_divisible(["train", *missing], sampling.folds, groups)
        strata = self.target.strata(self.train.labels)
        strata = torch.zeros_like(strata) if self.target.divides_names else strata
        rest = torch.arange(len(strata))
        test = (self.test, every(self.test)) if self.test is not None else None
        if test is None:
            rest, taken = self._test(rest, strata, groups, sampling)
            test = self.train, taken
        val = (self.val, every(self.val)) if self.val is not None else None
        if val is None and groups is not None and not self.target.divides_names:
            left, where = len(groups[rest].unique()), self.reader.where
            require_groups(left, 2, "training, validation", where, self.reader.ungroups)
        if val is None:
            own = None if groups is None else groups[rest]
            fraction, seed = sampling.val_fraction, sampling.split_seed
            kept, taken = self._divided("val", rest, strata[rest], own, fraction, seed, keep=1)
            val, rest = (self.train, rest[taken]), rest[kept]
        return (self.train, rest), val, test

    def _test(self, index: Tensor, strata: Tensor, groups: Tensor | None, sampling: Sampling) -> tuple[Tensor, Tensor]:
        """Indices (rest, test) of the training source."""
        if sampling.folds is not None:
            return fold_split(strata, groups, sampling.folds, sampling.fold, sampling.split_seed)
        keep = 2 if self.val is None else 1
        return self._divided("test", index, strata, groups, sampling.test_fraction, sampling.split_seed, keep=keep)

    def _divided(
        self, name: str, index: Tensor, strata: Tensor, groups: Tensor | None, fraction: float, seed: int, *, keep: int
    ) -> tuple[Tensor, Tensor]:
        """Indices (rest, split) in `index`, and a note if groups or equal times made the split much larger or smaller.
        index: in the training source."""
        if self.times is not None:
            rest, split = time_split(self.times.places["train"][index], fraction, keep=keep)
            self.notes += share_note(name, len(split) / len(index), fraction, "samples of one time stay together")
            return rest, split
        if groups is None:
            return stratified_split(strata, fraction, seed, keep=keep)
        if self.target.divides_names:
            divided = split_by_names(self.train.labels[index], groups, fraction, seed, keep=keep)
            if divided is None:
                ungroups = self.reader.ungroups if "train" in self.groups else None
                raise not_divisible(name, self.reader.where, ungroups)
            rest, split = divided
        else:
            rest, split = grouped_split(strata, groups, fraction, seed)
        self.notes += share_note(name, len(split) / len(strata), fraction)
        return rest, split

    def _require_divisible(self, sides: list[str], folds: int | None, groups: Tensor | None) -> None:
        """Raise DataError if there are too few samples of a class, or too few groups, to divide."""
        words = {"train": "training", "val": "validation", "test": "test"}
        parts = ", ".join(words[side] for side in sides)
        needed = len(sides) if folds is None else max(folds, len(sides))
        if len(self.train.labels) < needed:
            raise DataError(
                f"there are {len(self.train.labels)} {self.samples}, too few for {folds or len(sides)} splits",
                where=self.reader.where,
                next_step="add samples" + (", or fewer data.folds" if folds is not None else ""),
            )
        if self.times is not None:
            number = len(self.times.places["train"].unique())
            require_times(number, needed, parts, self.reader.where, self.times.column)
        elif self.target.divides_names:
            if (error := too_few(self.train.labels, needed, parts, self.reader.where, self.reader.divides)) is not None:
                raise error
        elif groups is None:
            reason = f"one each for {parts}" if folds is None else f"one for each of {folds} folds"
            self._require_of_each(needed, self.train.labels, reason)
        else:
            require_groups(len(groups.unique()), needed, parts, self.reader.where, self.reader.ungroups)

    def _require_limit(self, labels: Tensor, limit: int) -> None:
        """Raise DataError if the limit leaves a class without a training sample."""
        try:
            self._require_of_each(1, labels, "training")
        except DataError as error:
            raise DataError(
                f"{error.what}, and the limit is {limit} training samples",
                where="data.train_limit",
                next_step=f"data.train_limit={max(len(self.names), limit + 1)}  # or more",
            ) from None

    def _require_of_each(self, needed: int, labels: Tensor, reason: str) -> None:
        reader, counts = self.reader, self.target.counts(self.names, labels)
        try:
            require_per_class(
                counts, needed, where=reader.where, reason=reason, setting=reader.chooses, divides=reader.divides
            )
        except DataError as error:
            raise reader.too_few(error, counts, needed) from None
