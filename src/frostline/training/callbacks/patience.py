"""End a phase that no longer improves."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping

from frostline.plan.phase import Phase


class PhasePatience(EarlyStopping):
    """Lightning's EarlyStopping with the phase's `until` as settings; each phase counts anew."""

    def __init__(self) -> None:
        super().__init__(monitor="", verbose=False)
        self._counted_for: str | None = None
        self._ends = False

    @property
    def state_key(self) -> str:
        return type(self).__qualname__  # Lightning's contains the monitor, which depends on the phase

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        phase = pl_module.phase
        assert isinstance(phase, Phase)
        until = phase.until
        self._ends = until.patience is not None
        self.monitor, self.mode, self.patience = until.monitor, until.mode, until.patience or 0
        self.min_delta = until.min_delta if until.mode == "max" else -until.min_delta
        if self._counted_for != phase.name:
            self._counted_for = phase.name
            self.wait_count = 0
            self.best_score = torch.tensor(torch.inf if until.mode == "min" else -torch.inf)

    def _should_skip_check(self, trainer: L.Trainer) -> bool:
        return not self._ends or super()._should_skip_check(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "counted_for": self._counted_for}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._counted_for = state_dict["counted_for"]
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "counted_for"})
