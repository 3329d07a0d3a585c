"""Train, val and test: a split comes from the reader or is taken from the training samples, stratified and seeded."""

import torch
from torch import Tensor

from frostline.data.reader import Reader
from frostline.data.sampling import Sampling, balanced_subset, require_per_class, stratified_split
from frostline.data.source import Source, every
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError

Chosen = tuple[Source, Tensor]


class Division:
    """Divides sources into splits. sources: of train, val and test; None for a split to take from train. samples: their
    plural in messages."""

    def __init__(
        self,
        reader: Reader,
        target: TargetType,
        names: list[str],
        sources: tuple[Source, Source | None, Source | None],
        samples: str,
    ) -> None:
        self.reader = reader
        self.target = target
        self.names = names
        self.train, self.val, self.test = sources
        self.samples = samples

    def whole(self) -> tuple[Split, Split, Split]:
        """Return one split, three times, for scoring: the test split if there is one, else all of `train`."""
        source = self.test or self.train
        index = every(source)
        train, val, test = (Split(source, index, scored=True) for _ in range(3))
        return train, val, test

    def splits(self, sampling: Sampling) -> tuple[Split, Split, Split]:
        """Return train, val and test. Raises DataError if a class has too few samples for the splits, or a split is
        empty."""
        (source, index), val, test = self._split(sampling.val_fraction, sampling.test_fraction, sampling.split_seed)
        self._require_of_each(1, source.labels[index], "training")
        if sampling.train_limit is not None:
            strata = self.target.strata(source.labels[index])
            index = index[balanced_subset(strata, sampling.train_limit, sampling.seed)]
            self._require_limit(source.labels[index], sampling.train_limit)
        splits = Split(source, index), Split(*val, scored=True), Split(*test, scored=True)
        for name, split in (("validation", splits[1]), ("test", splits[2])):
            if len(split) == 0:
                raise DataError(
                    f"the {name} split has no {self.samples}",
                    where=self.reader.where,
                    next_step=f"put {self.samples} into it, or remove it, so that it is taken from the training split",
                )
        return splits

    def _split(self, val_fraction: float, test_fraction: float, seed: int) -> tuple[Chosen, Chosen, Chosen]:
        if self.val is None or self.test is None:
            pieces = ["training"] + ["validation"] * (self.val is None) + ["test"] * (self.test is None)
            self._require_of_each(len(pieces), self.train.labels, f"one each for {', '.join(pieces)}")
        strata = self.target.strata(self.train.labels)
        rest = torch.arange(len(strata))
        test = (self.test, every(self.test)) if self.test is not None else None
        if test is None:
            kept, taken = stratified_split(strata, test_fraction, seed, keep=2 if self.val is None else 1)
            test, rest = (self.train, rest[taken]), rest[kept]
        val = (self.val, every(self.val)) if self.val is not None else None
        if val is None:
            kept, taken = stratified_split(strata[rest], val_fraction, seed)
            val, rest = (self.train, rest[taken]), rest[kept]
        return (self.train, rest), val, test

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
