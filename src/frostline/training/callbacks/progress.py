"""Print a line per epoch, in terminals and logs alike."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import lightning as L

from frostline.training.callbacks.measure import RATE

WORTH = 10  # seconds from which the time left is printed


class EpochLines(L.Callback):
    """monitor: the score that is printed beside the losses. planned: the estimated seconds of each phase by name, with
    which the time left for the whole plan is printed; None where there is no estimate."""

    def __init__(self, *, monitor: str) -> None:
        self.shown = {"loss": "train/loss_epoch"} | {name: name for name in ("val/loss", monitor)}
        self.planned: Mapping[str, float | None] = {}
        self._since, self._epochs = time.perf_counter(), list[float]()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since, self._epochs = time.perf_counter(), []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seen = trainer.callback_metrics  # read on every rank: it gathers
        if not trainer.is_global_zero or not pl_module.trained:
            return
        width = max(8, *map(len, pl_module.phase_names))  # type: ignore[arg-type]
        phase, first = pl_module.phase, pl_module.first_epoch
        scores = {"train/loss_epoch", *pl_module.task.scores}  # type: ignore[union-attr, misc]
        names = {label: name for label, name in self.shown.items() if name in scores}  # not every task has val/loss
        shown = {label: f"{float(seen[name]):.4f}" if name in seen else "-" for label, name in names.items()}
        done = trainer.current_epoch - first + 1  # type: ignore[operator]
        line = "  ".join(f"{name} {value}" for name, value in shown.items())
        line += f"  {float(seen[RATE]):,.0f} samples/s" if RATE in seen else ""
        left = self._left(phase.name, self._usual(time.perf_counter()), phase.epochs, done, thaws=_thaws(pl_module))  # type: ignore[union-attr, arg-type]
        epoch = f"{done}/{phase.epochs}"  # type: ignore[union-attr]
        print(f"{phase.name:>{width}} {epoch:>7}   {line}{left}", flush=True)  # type: ignore[union-attr]

    def _usual(self, now: float) -> float:
        """Median seconds of the epochs of this phase, one of which ends `now`: the first often takes longer."""
        self._epochs.append(now - self._since)
        self._since = now
        return statistics.median(self._epochs)

    def _left(self, name: str, seconds: float, epochs: int, done: int, *, thaws: bool) -> str:
        """The time left for the whole plan, in words; "" if it is unknown or short. seconds: of an epoch of the phase.
        Estimates of later phases are scaled by what this one takes of its own, if blocks learn in it: epochs on cached
        outputs tell nothing of those that thaw."""
        later = [*self.planned][[*self.planned].index(name) + 1 :] if name in self.planned else []
        rest, own = [self.planned[it] for it in later], self.planned.get(name)
        if name not in self.planned or None in rest or (rest and not own):
            return ""
        factor = seconds * epochs / own if own and thaws else 1.0
        left = seconds * (epochs - done) + factor * sum(it for it in rest if it is not None)
        return f"  ≈ {_duration(left)} left" if left >= WORTH else ""


def _thaws(pl_module: Any) -> bool:
    """Whether blocks of the backbone learn in the current phase."""
    blocks = [*pl_module.backbone.blocks]
    return bool(pl_module.phase.frost_line(blocks) < len(blocks))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
