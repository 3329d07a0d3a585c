"""The runs of a folder, and the settings that they repeat."""

import math
import shlex
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.errors import in_short
from frostline.runs.record import FILE, Record
from frostline.runs.sweeps import lost_of

REPEATS = ("seed", "data.seed", "data.fold", "data.split_seed")  # settings whose values are repetitions of a setting
PLACES = ("run_dir", "logs_dir")  # settings that change no run


class Ranking(NamedTuple):
    """Runs with equal values have comparable scores. data: name of the data set; fingerprint: hash of its samples."""

    monitor: str
    mode: str
    data: str
    fingerprint: str


class Trial(NamedTuple):
    """A run. record: None if it failed before it had a folder. error: why it did not finish, or ""."""

    run: str
    status: str
    overrides: dict[str, str]
    record: Record | None
    error: str

    @classmethod
    def of(cls, parent: Path, folder: Path) -> "Trial":
        record = Record.read(folder)
        error = "" if record.error is None else in_short(record.error["message"])
        name = folder.relative_to(parent).as_posix()
        return cls(name, record.status, _said(shlex.split(record.command)), record, error)

    @property
    def rank(self) -> float:
        """Sort key: lower is better; inf if the run is not ranked."""
        return math.inf if self.record is None else self.record.rank

    @property
    def ranking(self) -> Ranking | None:
        """None if the run is not ranked."""
        if self.record is None or self.rank == math.inf:
            return None
        data, fingerprint = (str(self.record.data.get(key, "")) for key in ("name", "fingerprint"))
        return Ranking(self.record.monitor, self.record.mode, data, fingerprint)


class Setting(NamedTuple):
    """Runs that differ only in REPEATS, the best first; one run if it is not ranked."""

    trials: list[Trial]

    @property
    def first(self) -> Trial:
        return self.trials[0]

    @property
    def records(self) -> list[Record]:
        return [trial.record for trial in self.trials if trial.record is not None]

    @property
    def rank(self) -> float:
        return statistics.fmean(trial.rank for trial in self.trials)

    @property
    def order(self) -> tuple[float, int, str]:
        """Sort key in a ranking, the best first; of equal ones that with the lowest number."""
        return self.rank, len(self.first.run), self.first.run

    def score(self, name: str) -> tuple[float, float] | None:
        """Mean and standard deviation (with n - 1; NaN for one run) of a score; None if a run has no finite one."""
        found = [record.metrics.get(name) for record in self.records]
        values = [it for it in found if it is not None and math.isfinite(it)]
        if not values or len(values) < len(self.trials):
            return None
        return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan

    @property
    def seconds(self) -> float:
        return sum(record.seconds["total"] for record in self.records)


def runs_of(folder: Path) -> list[Path]:
    """The run folders, at any depth, as `hydra.sweep.subdir` may nest them; job 2 before job 10."""
    return sorted((path.parent for path in folder.rglob(FILE)), key=lambda path: (len(str(path)), str(path)))


def trials_of(folder: Path) -> list[Trial]:
    """The runs of a folder, and the jobs of a sweep that failed before they had a run."""
    trials = [Trial.of(folder, run) for run in runs_of(folder)]
    return trials + [Trial(run, "failed", _said(typed), None, error) for run, typed, error in lost_of(folder)]


def settings_of(trials: Sequence[Trial]) -> list[Setting]:
    """Group ranked runs by their settings without REPEATS. The same run made twice is no repetition."""
    groups: dict[object, list[Trial]] = defaultdict(list)
    same: dict[object, int] = defaultdict(int)
    for trial in trials:
        if trial.ranking is None:
            groups[trial.run].append(trial)
            continue
        whole = (trial.ranking, frozenset(trial.overrides.items()))
        own = frozenset((name, value) for name, value in trial.overrides.items() if name not in REPEATS)
        groups[(trial.ranking, own, same[whole])].append(trial)
        same[whole] += 1
    return [Setting(sorted(group, key=lambda trial: Setting([trial]).order)) for group in groups.values()]


def differing(trials: Sequence[Trial]) -> list[str]:
    """Names of the settings that differ between trials."""
    names = dict.fromkeys(name for trial in trials for name in trial.overrides)
    return [name for name in names if len({trial.overrides.get(name) for trial in trials}) > 1]


def scores_of(records: Sequence[Record]) -> list[str]:
    """Names of the monitors, then of the test scores, without `test/n`."""
    monitors = [record.monitor for record in records if record.monitor]
    scores = [name for record in records for name in record.metrics if name.startswith("test/") and name != "test/n"]
    return list(dict.fromkeys(monitors + scores))


def _said(typed: Sequence[str]) -> dict[str, str]:
    """The `key=value` settings of a command line as a dict, without flags and places."""
    said = dict(part.lstrip("+").split("=", 1) for part in typed if "=" in part and not part.startswith("-"))
    return {name: value for name, value in said.items() if name not in PLACES}
