"""Checkpoints that are whole or not there, and that know their folder after it was moved."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from frostline.errors import RunError, first_line
from frostline.paths import moved


class WholeFiles(TorchCheckpointIO):
    """Written beside its place, then moved there. Lightning's own drafts lie in the folder for temporary files, from
    which a move may be a copy: a kill in the middle of it leaves half a checkpoint under the right name."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.draft")  # one name, so that what a kill left is written over
        try:
            with draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        except (OSError, RuntimeError) as error:  # torch's writer raises the second, on a full disk too
            draft.unlink(missing_ok=True)
            raise RunError(
                f"a checkpoint cannot be written: {first_line(error)}",
                where=place,
                next_step="make room on that disk, then go on with resume=<this run folder>",
            ) from error


class PlacedCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that goes on where its folder lies now. Lightning's own forgets its best score when the folder
    was moved, and lets the next, worse one be the best. Of epochs with the same score the latest is the best: scores of
    small validation parts tie often, while the loss still falls."""

    @cached_property
    def state_key(self) -> str:
        """Settings stay, and Lightning asks for them in each hook of each step."""
        return super().state_key

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        tie = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return tie or super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        super().load_state_dict(moved(state_dict, before, now))
