"""Decide whether a run of a sweep is worth its time."""

from collections.abc import Callable
from typing import Protocol

from frostline.sweeps.settings import Grid

Report = Callable[[int, float], bool]


class Budget(Protocol):
    """The time of a search. left: seconds, for the current run. needed: seconds that the current run will take, if its
    plan is estimated at `planned`."""

    def left(self) -> float: ...

    def needed(self, planned: float) -> float: ...


class Watch:
    """report: notes a score at a step and returns whether a search would prune the run; None without a search. budget:
    None if the search has no limit."""

    def __init__(self, settings: Grid, report: Report | None, budget: Budget | None = None) -> None:
        self._settings = settings
        self._report = report
        self._budget = budget

    @property
    def decides(self) -> bool:
        return any(
            it is not None
            for it in (self._settings.max_seconds, self._settings.max_parameters, self._report, self._budget)
        )

    def admit(self, parameters: int, planned: float | None) -> str | None:
        """Return why a network of this size is not to be trained, or None. planned: seconds of its plan, as estimated;
        None if they are not known."""
        most = self._settings.max_parameters
        if most is not None and parameters > most:
            return f"the network has {parameters:,} parameters, more than sweep.max_parameters={most:,}"
        if self._budget is None or planned is None:
            return None
        needed, left = self._budget.needed(planned), self._budget.left()
        return None if needed <= left else f"its plan takes about {needed:.0f} s, and the search has {left:.0f} s left"

    def late(self, seconds: float) -> str | None:
        """Return why a run that has trained for this time is to end, or None."""
        if self._budget is not None and seconds > self._budget.left():
            return f"it took {seconds:.0f} s so far, and the time of the search is over"
        most = self._settings.max_seconds
        if most is None or seconds <= most:
            return None
        return f"it took {seconds:.0f} s so far, more than sweep.max_seconds={most:g}"

    def judge(self, step: int, score: float, seconds: float) -> str | None:
        """Return why a run is to end, or None. step: planned epochs until now. seconds: for which it has trained."""
        pruned = self._report is not None and self._report(step, score)
        late = self.late(seconds)
        if late is not None:
            return late
        return f"after epoch {step} others were better than {score:.4f}" if pruned else None
