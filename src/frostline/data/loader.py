"""In which order samples come, and who gets which. A function of (seed, epoch), so nothing has to be remembered."""

from collections.abc import Iterator

import torch
from torch import Tensor

from frostline.errors import DataError


class Share(list[int]):
    """One rank's places of a global batch, in an epoch. `weight`: see `Batch.weight`."""

    weight: float = 1.0
    epoch: int = 0


class EpochBatches:
    """Batch sampler for a DataLoader: each sample once per epoch, in ceil(N / batch_size) batches whose sizes differ
    by one at the most, so that no sample weighs more than another and no batch is a crumb.

    batch_size: of the global batch, at most. Each rank takes every world_size-th place of it.
    """

    def __init__(
        self, num_samples: int, batch_size: int, *, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_batches = -(-num_samples // batch_size)
        if not shuffle:  # each rank has a part of each batch: one without any would leave the others waiting
            self.num_batches = min(self.num_batches, max(num_samples // world_size, 1))
        if num_samples // self.num_batches < world_size:
            raise DataError(
                f"batches of {num_samples // self.num_batches} samples cannot be shared by {world_size} processes",
                where="data.batch_size",
                next_step=f"data.batch_size={world_size} or more, more data, or trainer.devices=1",
            )
        self.num_samples = num_samples
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.done = (-1, 0)
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def resume_at(self, epoch: int, batches: int) -> None:
        """That epoch begins after so many batches, which were trained before."""
        self.done = epoch, batches

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Share]:
        epoch, batches = self.done
        for batch in self._batches()[batches if epoch == self.epoch else 0 :]:
            share = Share(batch[self.rank :: self.world_size].tolist())
            share.epoch = self.epoch
            share.weight = self.world_size * len(share) / len(batch)
            yield share

    def _batches(self) -> tuple[Tensor, ...]:
        return self._order().tensor_split(self.num_batches)

    def _order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.num_samples)
        # One generator per epoch: the large odd factor keeps (seed, epoch) pairs apart.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        return torch.randperm(self.num_samples, generator=generator)
