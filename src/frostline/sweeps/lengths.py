"""Estimate how long the jobs of a grid take, so that several processes can begin with the longest. By their plans until
a job like them has ended, then by its seconds, too. An estimate orders jobs and does nothing else."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from frostline.quoting import key_of
from frostline.runs.sweep_names import REPEATS
from frostline.runs.sweeps import Sweep

THAWED = 20.0  # by which an epoch through the network counts longer than one of a head; assumed, not measured
SIZES = ("epochs", "train_limit")  # settings to which seconds are about proportional
CHEAP = ("optimizer", "cache", "logger", "callbacks")  # groups on which they depend little
NO_EPOCHS = 0.1  # of the shortest plan with epochs, for one without any
MOST = 1e18  # epochs or samples; more are no plan
STEP = math.sqrt(2)  # lengths that differ by less count as equal: a measured one varies


def work_of(schedule: Any, samples: Any) -> float:
    """Epochs of a composed plan × samples, those that thaw something counted as longer; 0.0 if that is unknown.
    samples: data.train_limit."""
    phases = schedule.get("phases") if isinstance(schedule, Mapping) else None
    own = [it for it in phases.values() if isinstance(it, Mapping)] if isinstance(phases, Mapping) else []
    epochs = sum(_number(it.get("epochs")) * (1.0 if it.get("thaw") in ("none", 0) else THAWED) for it in own)
    work = epochs * (_number(samples) or 1.0)
    return work if math.isfinite(work) else 0.0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < MOST else 0.0


class Lengths:
    """Lengths of the jobs of a sweep."""

    def __init__(self, sweep: Sweep, jobs: Sequence[Sequence[str]]) -> None:
        self._sweep = sweep
        known = sweep.work if len(sweep.work) == len(jobs) else [1.0] * len(jobs)
        least = min((it for it in known if it > 0), default=1.0)
        self._work = [max(it, NO_EPOCHS * least) for it in known]
        self._kinds = [_kind(job) for job in jobs]
        self._pace: dict[int, float] = {}  # of finished jobs: seconds for their work
        self._means: dict[tuple[str, ...], float] = {}  # of each kind
        self._mean = 1.0  # of all

    def look(self) -> Collection[int]:
        """Read the seconds of jobs that have finished since the last look. Returns the numbers of all that have."""
        for number in self._sweep.numbers():
            if number in self._pace or number >= len(self._kinds):
                continue
            record = self._sweep.record(number)
            if record is not None and record.status == "finished" and record.seconds["total"] > 0:
                self._pace[number] = record.seconds["total"] / self._work[number]
        paces: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for number, pace in self._pace.items():
            paces[self._kinds[number]].append(pace)
        self._means = {kind: fmean(own) for kind, own in paces.items()}
        self._mean = fmean(self._pace.values()) if self._pace else 1.0
        return self._pace.keys()

    def rank(self, number: int) -> tuple[int, float]:
        """Sort key: the longest first."""
        work = self._work[number]
        seconds = self._means.get(self._kinds[number], self._mean) * work
        return -round(math.log(seconds, STEP)), -work


def _kind(job: Sequence[str]) -> tuple[str, ...]:
    """The settings on which the seconds of a pass depend."""
    return tuple(it for it in job if not _is_size(key_of(it)))


def _is_size(key: str) -> bool:
    return key in REPEATS or key.rpartition(".")[2] in SIZES or key.partition(".")[0] in CHEAP
