"""Parts of a data set, and how a loader asks for them. Shapes: see `Batch`."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from frostline.contracts.batch import Batch
from frostline.data.loader import EpochBatches, Share
from frostline.data.source import Source
from frostline.errors import DataError


class Part(Dataset[Batch | DataError]):
    """Some of the samples. Loaders ask for a batch at a time, by places in this part.

    An error of the data is handed on as if it were the batch: a worker process can only raise what is made from a text.
    """

    def __init__(self, source: Source, index: Tensor, *, whole: bool = False, scored: bool = False) -> None:
        """whole: see `Source.fetch`. scored: whether targets are those of `Source.scored_targets`."""
        self.source = source
        self.index = index
        self.whole = whole
        self.scored = scored

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: int) -> Batch | DataError:
        return self.__getitems__([place])

    def __getitems__(self, places: list[int]) -> Batch | DataError:
        chosen = self.index[places]
        try:
            inputs, sizes = self.source.fetch(chosen, whole=self.whole)
        except DataError as error:
            return error
        weight = places.weight if isinstance(places, Share) else 1.0
        targets, own_sizes = self.targets(chosen)
        return Batch(inputs, targets, chosen, sizes, weight, own_sizes=own_sizes)

    def targets(self, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of samples of the source, with the sizes of pictures in whose frame they are, if they are in one."""
        return self.source.scored_targets(chosen) if self.scored else (self.source.targets(chosen), None)

    @property
    def labels(self) -> Tensor:
        return self.source.labels[self.index]

    @cached_property
    def lengths(self) -> Tensor | None:
        return None if self.source.lengths is None else self.source.lengths[self.index]

    @cached_property
    def by_length(self) -> Tensor | None:
        """(N,) places, from the shortest sample on; None where all are of one size."""
        return None if self.lengths is None else self.lengths.argsort(stable=True)


class Transfers(L.LightningDataModule):
    def on_before_batch_transfer(self, batch: Batch | DataError, dataloader_idx: int) -> Batch:
        """Raises the DataError that a loader met."""
        if isinstance(batch, DataError):
            raise batch
        return batch


# Of a part, and of the epochs whose augmentation it is shown with (None: without any): the same samples as the frozen
# blocks leave them, where that is kept.
Serve = Callable[[Part, Sequence[int | None]], Dataset[Batch] | None]


def loader(part: Dataset[Any], batches: EpochBatches, num_workers: int | None) -> DataLoader[Batch | DataError]:
    """num_workers: None for one per core, at most 8 and no more than there are batches."""
    if num_workers is None:
        num_workers = min(8, os.cpu_count() or 1, len(batches))
    return DataLoader(
        part,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_deaf,
    )


def _deaf(worker: int) -> None:
    """A terminal sends Ctrl-C to workers too: they end when the process that started them does."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    """The part has made a whole batch already."""
    return batch


def named(parts: tuple[Part, Part, Part]) -> list[tuple[str, Part]]:
    """train, val and test; `test` alone where all three are one, of samples that are only scored."""
    if parts[0].index is parts[2].index:
        return [("test", parts[2])]
    return list(zip(("train", "val", "test"), parts, strict=True))
