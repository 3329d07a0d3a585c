"""Choose the best epoch, and find checkpoints in a moved folder."""

from contextlib import suppress
from functools import cached_property
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from frostline.errors import RunError
from frostline.paths import moved
from frostline.training.callbacks.checkpoint_files import Waits, files_of


class PlacedCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that survives a move of its folder. Lightning's forgets its best score then, and takes the
    next, worse one for the best.

    The best epoch is the latest within one standard error of the highest score, if the score is a proportion of the
    samples (a rule of Breiman et al. 1984, section 3.4.3, for trees), else the latest with the best score: small
    validation splits often tie while training still helps.

    A single file under a fixed name is held until a write is worth it, at most to the end of the phase.
    """

    @cached_property
    def state_key(self) -> str:
        """Cached, as the settings do not change and Lightning reads the key in each hook of each step."""
        return super().state_key

    top_score: float | None = None  # the best of all epochs; the chosen epoch may be a standard error below
    saved_at: tuple[int, int] | None = None  # epoch and step of the last save in this process

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        if current is None or self.save_top_k != 1 or not current.isfinite():
            return super().check_monitor_top_k(trainer, current)
        score, top = float(current), self.top_score
        better = top is None or (score > top if self.mode == "max" else score < top)
        if top is None or better:
            self.top_score = score
        tie = top is not None and self.mode == "max" and score >= top - self._standard_error(trainer, top)
        return bool(trainer.strategy.reduce_boolean_decision(better or tie or score == top))

    def _standard_error(self, trainer: L.Trainer, share: float) -> float:
        """Standard error of a proportion of the validation samples; 0 for other scores."""
        task, number = getattr(trainer.lightning_module, "task", None), trainer.callback_metrics.get("val/n")
        if task is None or number is None or self.monitor is None:
            return 0.0
        return float(task.standard_error(self.monitor, share, float(number)))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        files_of(trainer).begin()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        files_of(trainer).write_held(keep=trainer.world_size == 1)  # ranks read it together, or fail together
        trainer.strategy.barrier()  # other ranks read what was written

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        with suppress(RunError):  # the original exception says more
            files_of(trainer).write_held()

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        self.saved_at = trainer.current_epoch, trainer.global_step
        if self.save_top_k != 1 or self.save_last or self.filename is None or "{" in self.filename:
            super()._save_checkpoint(trainer, filepath)
            return
        resting = {name for name, p in trainer.lightning_module.named_parameters() if not p.requires_grad}
        with files_of(trainer).may_wait(Waits(resting, first=self.monitor is not None)):
            super()._save_checkpoint(trainer, filepath)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "top_score": self.top_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        super().load_state_dict(moved(state_dict, before, now))
        best = state_dict["best_model_score"]
        self.top_score = state_dict.get("top_score", None if best is None else float(best))
