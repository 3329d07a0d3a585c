"""The predictions of one evaluation. Shapes: R rows, a sample or a word each."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn.functional import pad

from frostline.contracts.batch import Batch
from frostline.contracts.targets import NO_TAG

Columns = dict[str, Tensor]


class Collected(L.Callback):
    """Collect `Task.saved` for this rank's samples in an evaluation, on the CPU; drop all of it above `max_bytes`."""

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.batches: list[Columns] = []

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        columns = pl_module.task.saved(outputs, batch)
        rows = columns.pop("sample", slice(None))
        columns = {"index": batch.sample[rows], **columns}
        self.num_bytes += sum(column.nbytes for column in columns.values())
        if self.num_bytes <= self.max_bytes:
            self.batches.append({name: column.cpu() for name, column in columns.items()})
        else:
            self.batches.clear()

    on_validation_batch_end = on_test_batch_end

    def gathered(self, trainer: L.Trainer) -> tuple[int, Columns | None]:
        """Bytes over all ranks, and on rank 0 the columns of all, unless too large. Collective: every rank calls it."""
        own = {name: joined([batch[name] for batch in self.batches]) for name in next(iter(self.batches), {})}
        if trainer.world_size == 1:
            return self.num_bytes, own if self.num_bytes <= self.max_bytes else None
        sizes = [0] * trainer.world_size
        torch.distributed.all_gather_object(sizes, self.num_bytes)
        if sum(sizes) > self.max_bytes:
            return sum(sizes), None
        ranks: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
        torch.distributed.gather_object(own, ranks)
        return sum(sizes), None if ranks is None else {name: joined([rank[name] for rank in ranks]) for name in own}


def joined(columns: list[Tensor]) -> Tensor:
    """Concatenate rows. Rows of several lengths, which are indices, are padded with NO_TAG."""
    most = max(column[0].numel() for column in columns)
    if all(column[0].numel() == most for column in columns):
        return torch.cat(columns)
    return torch.cat([pad(column, (0, most - column.shape[1]), value=NO_TAG) for column in columns])
