"""Splits of a data set, which loaders read a batch at a time. Shapes: see `Batch`."""

import hashlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
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


class Split(Dataset[Batch | DataError]):
    """Some samples of a source, by `index`: (N,) int64. Loaders request batches of places, which are positions in it.

    A DataError is returned in place of the batch: DataLoader rebuilds exceptions of workers from their text alone.
    """

    def __init__(self, source: Source, index: Tensor, *, whole: bool = False, scored: bool = False) -> None:
        """whole: see `Source.fetch`. scored: whether targets come from `Source.scored_targets`."""
        self.source = source
        self.index = index
        self.whole = whole
        self.scored = scored
        self.groups: Sequence[str] = ()  # of each sample of the source, if samples have groups
        self.slices: Mapping[str, Sequence[str]] = {}  # the same of columns by whose values scores are reported

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
        return Batch(inputs, targets, chosen, sizes, weight, own_sizes=own_sizes, user=self.source.users_of(chosen))

    def targets(self, chosen: Tensor) -> tuple[Any, Tensor | None]:
        """Targets of samples of the source, and `Source.scored_targets`' sizes (B, 2) or None."""
        return self.source.scored_targets(chosen) if self.scored else (self.source.targets(chosen), None)

    @property
    def labels(self) -> Tensor:
        return self.source.labels[self.index]

    @cached_property
    def lengths(self) -> Tensor | None:
        return None if self.source.lengths is None else self.source.lengths[self.index]

    @property
    def digest(self) -> str:
        """Digest of samples and their order, without targets."""
        digest = hashlib.blake2b(self.source.content.encode(), digest_size=16)
        digest.update(self.index.numpy().data)
        digest.update("".join(self.source.decoded_by).encode())
        return digest.hexdigest()

    def digests(self) -> list[bytes]:
        """See `Source.digests`."""
        return self.source.digests(self.index)

    @cached_property
    def by_length(self) -> Tensor | None:
        """(N,) places, shortest sample first; None if all samples have one size."""
        return None if self.lengths is None else self.lengths.argsort(stable=True)


class Transfers(L.LightningDataModule):
    def on_before_batch_transfer(self, batch: Batch | DataError, dataloader_idx: int) -> Batch:
        """Raise the DataError that a loader returned in place of a batch."""
        if isinstance(batch, DataError):
            raise batch
        return batch

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return a batch as it is where it stays on the CPU, without copying its parts one by one."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)


# A split, and the epochs whose augmentation its samples get (None: no augmentation) → a data set of the frozen blocks'
# cached outputs for them; None if they are not cached.
Serve = Callable[[Split, Sequence[int | None]], Dataset[Batch] | None]


def loader(split: Dataset[Any], batches: EpochBatches, num_workers: int | None) -> DataLoader[Batch | DataError]:
    """num_workers: None for one per core, at most 8 and at most the number of batches."""
    if num_workers is None:
        num_workers = min(8, os.cpu_count() or 1, len(batches))
    return DataLoader(
        split,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_deaf,
    )


def _deaf(worker: int) -> None:
    """Ignore Ctrl-C and hang-ups, which a terminal sends to workers too: they end with their parent process."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    """Collate nothing: `Split.__getitems__` returns a batch."""
    return batch


def named(splits: tuple[Split, Split, Split]) -> list[tuple[str, Split]]:
    """Pair splits with their names; only `test` if all three are the same split (`Division.whole`)."""
    if splits[0].index is splits[2].index:
        return [("test", splits[2])]
    return list(zip(("train", "val", "test"), splits, strict=True))
