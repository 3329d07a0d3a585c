"""End a run of a sweep that is not worth more time."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import lightning as L

from frostline.errors import Pruned
from frostline.plan.phase import Phase
from frostline.runs.record import Record


class Judge(Protocol):
    """Returns why the run is to end, or None."""

    def admit(self, parameters: int, planned: float | None) -> str | None: ...

    def judge(self, step: int, score: float, seconds: float) -> str | None: ...

    def late(self, seconds: float) -> str | None: ...


class Watched(NamedTuple):
    """A run that a sweep may end. judge: None on ranks other than 0."""

    judge: Judge | None

    def begin(self, trainer: L.Trainer, phases: Sequence[Phase], record: Record) -> None:
        callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, Pruning(self.judge, phases, record))


class Pruning(L.Callback):
    """Asks `judge` before the run is trained, between two phases, and after each epoch of the last one: an earlier end
    of a short phase whose outputs are cached would save little. Only the time is looked at after every epoch. A step is
    the number of planned epochs until then, so that runs whose phases end early are compared at the same steps.

    judge: of rank 0; None on other ranks, which do what rank 0 decides.
    """

    def __init__(self, judge: Judge | None, phases: Sequence[Phase], record: Record) -> None:
        self._judge = judge
        self._phases = phases
        self._monitor = record.monitor
        self._parameters = int(record.model["parameters"])
        self._earlier = record.seconds["total"]  # of earlier sessions of a resumed run
        self._planned = None if self._earlier else record.planned_seconds  # a part of a resumed run is done
        self._since = time.monotonic()
        self._number = -1  # of the phase
        self._score: float | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        number = int(pl_module.phase_number)  # type: ignore[arg-type]
        if self._judge is not None and self._number < 0:
            why = self._judge.admit(self._parameters, self._planned)
        elif self._judge is not None and self._score is not None and number > self._number:
            why = self._judge.judge(self._step(number), self._score, self._trained())
        else:
            why = None
        self._number, self._score = number, None
        self._end(trainer, why)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._score = float(trainer.callback_metrics[self._monitor])
        why = None
        if self._judge is not None and self._number < len(self._phases) - 1:
            why = self._judge.late(self._trained())
        elif self._judge is not None:
            epochs = trainer.current_epoch - int(pl_module.first_epoch) + 1  # type: ignore[arg-type]
            why = self._judge.judge(self._step(self._number) + epochs, self._score, self._trained())
        self._end(trainer, why)

    def _step(self, number: int) -> int:
        """Epochs that are planned before a phase."""
        return sum(phase.epochs for phase in self._phases[:number])

    def _trained(self) -> float:
        return self._earlier + time.monotonic() - self._since

    def _end(self, trainer: L.Trainer, why: str | None) -> None:
        """Every rank ends, or none: rank 0 decides."""
        why = trainer.strategy.broadcast(why)
        if why is not None:
            raise Pruned(why)
