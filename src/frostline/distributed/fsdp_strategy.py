"""Lightning's strategy for FSDP2, with what keeps it from a whole run put right."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from frostline.distributed.sharding import load_whole, load_whole_optimizer


class Sharded(ModelParallelStrategy):
    """One shard per process, and one file for a checkpoint, the same as that of one process.

    Lightning 2.6.6 takes the number of nodes for the number of shards; and it reads back optimizers by the places of
    their parameters in the model, which fails without momentum, and mixes up those that one process has saved.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Gives what is not loaded by then."""
        content: dict[str, Any] = torch.load(checkpoint_path, mmap=True, map_location="cpu", weights_only=True)
        assert self.model is not None
        load_whole(self.model, content.pop("state_dict"))
        for optimizer, state in zip(self.optimizers, content["optimizer_states"], strict=True):
            load_whole_optimizer(optimizer, state)
        return content
