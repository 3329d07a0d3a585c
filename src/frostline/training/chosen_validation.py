"""Keep the predictions of the epoch that a run chooses, so that its end need not compute them again."""

from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn

from frostline.contracts.batch import Batch
from frostline.training.callbacks.checkpoints import PlacedCheckpoint
from frostline.training.collected import Collected


class Validation(NamedTuple):
    """One validation within a fit. epoch: in its phase, from 1. at: epoch and step of the run."""

    phase: str
    epoch: int
    at: tuple[int, int]
    scores: dict[str, float]
    collected: Collected


class ChosenValidation(L.Callback):
    """Holds at most two validations: the last one, and the last after which the best checkpoint was saved. Those before
    a resume are not among them. Every rank holds the same ones, even if its own predictions are too large."""

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes = max_bytes
        self._now: Collected | None = None
        self._last: Validation | None = None
        self._chosen: Validation | None = None

    def settle(self, trainer: L.Trainer) -> None:
        """Hold the last validation only if the best checkpoint was saved after it."""
        best = trainer.checkpoint_callback
        if self._last is not None and isinstance(best, PlacedCheckpoint) and best.saved_at == self._last.at:
            self._chosen = self._last
        self._last = None

    def of(self, weights: dict[str, Any] | None) -> Validation | None:
        """weights: phase, epoch and average of the tested ones, see `Record.best`. None if theirs is not held."""
        if self._chosen is None or weights is None or weights["average"] is not None:
            return None
        found = (self._chosen.phase, self._chosen.epoch) == (weights["phase"], weights["epoch"])
        return self._chosen if found else None

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._now = None
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not pl_module.task.saves_cheaply:
            return
        self.settle(trainer)
        self._now = Collected(self.max_bytes)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._now is not None:
            self._now.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._now is None:
            return
        scores = {name: float(it) for name, it in trainer.callback_metrics.items() if name.startswith("val/")}
        epoch = trainer.current_epoch - pl_module.first_epoch + 1
        at = trainer.current_epoch, trainer.global_step
        self._last = Validation(pl_module.phase.name, epoch, at, scores, self._now)
        self._now = None
