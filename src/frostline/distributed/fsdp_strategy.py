"""Lightning's FSDP2 strategy, with two faults corrected."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy

from frostline.distributed.sharding import load_whole, load_whole_optimizer


class Sharded(ModelParallelStrategy):
    """Hold one shard per process, and write each checkpoint as one file, identical to that of a single process.

    Lightning 2.6.6 uses the number of nodes as the number of shards. It restores optimizer states by the position of
    the parameters in the model, which fails without momentum and permutes states that a single process saved.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Load the states of the model and the optimizers; return the content without `state_dict`."""
        content: dict[str, Any] = torch.load(checkpoint_path, mmap=True, map_location="cpu", weights_only=True)
        assert self.model is not None
        load_whole(self.model, content.pop("state_dict"))
        for optimizer, state in zip(self.optimizers, content["optimizer_states"], strict=True):
            load_whole_optimizer(optimizer, state)
        return content
