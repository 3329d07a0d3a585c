"""Ends a phase that no longer improves."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping


class PhasePatience(EarlyStopping):
    """Lightning's EarlyStopping with the patience of the phase, counted anew in each."""

    def __init__(self, *, monitor: str, mode: str) -> None:
        super().__init__(monitor=monitor, mode=mode, verbose=False)
        self._counted_for: str | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        phase = pl_module.phase
        self.patience = phase.patience  # type: ignore[union-attr,assignment]
        if self._counted_for != phase.name:  # type: ignore[union-attr]
            self._counted_for = phase.name  # type: ignore[union-attr,assignment]
            self.wait_count = 0
            self.best_score = torch.tensor(torch.inf if self.mode == "min" else -torch.inf)

    def _should_skip_check(self, trainer: L.Trainer) -> bool:
        return self.patience is None or super()._should_skip_check(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "counted_for": self._counted_for}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._counted_for = state_dict["counted_for"]
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "counted_for"})
