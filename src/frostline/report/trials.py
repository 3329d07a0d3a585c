"""The runs of a folder, and the settings that they repeat."""

import json
import math
import shlex
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from frostline.config.keys import PLACES as FILES_AND_FOLDERS
from frostline.errors import RunError, few, in_short
from frostline.paths import leaves
from frostline.quoting import plain_value
from frostline.report.score_intervals import without_bounds
from frostline.runs.folders import CONFIG
from frostline.runs.opening import read_settings
from frostline.runs.record import FILE, Record
from frostline.runs.sweep_names import REPEATS
from frostline.runs.sweeps import Sweep, lost_of

PLACES = ("run_dir", "logs_dir")  # settings that change no run
SHARING = 5  # runs of a note that are named
UNREADABLE = "unreadable"  # in place of the status of a run whose record cannot be read


@dataclass(frozen=True, order=True)
class Ranking:
    """Equal ones have comparable scores. samples: hash of the data set, or its name if a run has no hash. data: its
    name, which depends on where its files lie."""

    monitor: str
    mode: str
    samples: str
    data: str = field(compare=False)


class Trial(NamedTuple):
    """A run. record: None if it failed before it had a folder. error: why it did not finish, or ""."""

    run: str
    status: str
    overrides: dict[str, str]
    record: Record | None
    error: str

    @classmethod
    def of(cls, parent: Path, folder: Path) -> "Trial":
        name = folder.relative_to(parent).as_posix()
        try:
            at = (folder / FILE).stat()
            record = _record(folder, (at.st_mtime_ns, at.st_size, at.st_ino))
            overrides = _overrides(shlex.split(record.command))
        except RunError as unread:
            return cls(name, UNREADABLE, {}, None, in_short(unread.what))
        except OSError as gone:
            return cls(name, UNREADABLE, {}, None, in_short(str(gone)))
        except ValueError as unread:
            return cls(name, UNREADABLE, {}, None, f"its command cannot be read: {unread}")
        error = "" if record.error is None else in_short(record.error["message"])
        return cls(name, record.status, overrides, record, error)

    def settings(self, *, repeats: bool) -> frozenset[tuple[str, str]]:
        """What was typed, in one spelling. repeats: with REPEATS."""
        return frozenset(
            (name, plain_value(value)) for name, value in self.overrides.items() if repeats or name not in REPEATS
        )

    @property
    def rank(self) -> float:
        """Sort key: lower is better; inf if the run is not ranked."""
        return math.inf if self.record is None else self.record.rank

    @property
    def scores(self) -> dict[str, float]:
        """Validation scores by name."""
        found = {} if self.record is None else self.record.metrics
        return {name: score for name, score in found.items() if name.startswith("val/")}

    @property
    def ranking(self) -> Ranking | None:
        """None if the run is not ranked."""
        if self.record is None or self.rank == math.inf:
            return None
        data, fingerprint = (str(self.record.data.get(key, "")) for key in ("name", "fingerprint"))
        return Ranking(self.record.monitor, self.record.mode, fingerprint or data, data)


@cache
def _record(folder: Path, stamp: tuple[int, int, int]) -> Record:
    """A leaderboard is written after each run of a sweep: it reads the other records once. stamp: of the file, which
    changes with it."""
    return Record.read(folder)


class Setting(NamedTuple):
    """Runs that differ only in REPEATS, the best first; one run if it is not ranked. again: the same runs made once
    more, with the same scores, which are no repetitions. missing: repetitions that failed or were pruned. unlike: a run
    of the same settings, seed included, that has other scores and a row of its own; "" if there is none."""

    trials: list[Trial]
    again: Sequence[Trial] = ()
    missing: int = 0
    unlike: str = ""

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
    def order(self) -> tuple[bool, float, int, str]:
        """Sort key in a ranking: settings of which every repetition finished before others, as a mean over those that
        survived is too good; the best first; of equal ones that with the lowest number."""
        return self.missing > 0, self.rank, len(self.first.run), self.first.run

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
    if any(trial.status == UNREADABLE for trial in trials):  # the sweep still knows what was typed for such a run
        sweep = Sweep(folder, [], "")
        typed = {note.run: note.typed for number in sweep.numbers() if (note := sweep.note(number)) is not None}
        trials = [it._replace(overrides=it.overrides or _overrides(typed.get(it.run, []))) for it in trials]
    lost = lost_of(folder)
    cwd = _cwd_of(folder) if lost else None
    return trials + [
        Trial(run, status, _placed(_overrides(typed), cwd), None, error) for run, typed, error, status in lost
    ]


def _cwd_of(folder: Path) -> Path | None:
    """The folder in which the command of a sweep was typed; None if that cannot be read."""
    try:
        return Path(Sweep.read(folder).cwd)
    except RunError:
        return None


def _placed(overrides: dict[str, str], cwd: Path | None) -> dict[str, str]:
    """The overrides with existing paths made absolute, as commands in run.json have them."""
    if cwd is None:
        return overrides
    return {
        name: str(cwd / value) if name.rpartition(".")[2] in FILES_AND_FOLDERS and (cwd / value).exists() else value
        for name, value in overrides.items()
    }


def settings_of(trials: Sequence[Trial], folder: Path) -> list[Setting]:
    """Group ranked runs by their settings without REPEATS. folder: in which the runs lie."""
    settings: list[Setting] = []
    groups: dict[object, list[Trial]] = defaultdict(list)
    ranked = [trial for trial in trials if trial.ranking is not None]
    composed = len({frozenset(trial.overrides) for trial in ranked}) > 1  # else what was typed tells them apart
    for trial in ranked:
        own = _composed(folder / trial.run, repeats=False) if composed else None
        groups[(trial.ranking, own or trial.settings(repeats=False))].append(trial)
    lost = [it for it in trials if it.ranking is None and it.status not in ("running", "interrupted")]
    for group in groups.values():
        known: dict[object, list[Trial]] = {}
        others, again = [], []
        for trial in sorted(group, key=lambda trial: (len(trial.run), trial.run)):
            whole = (_composed(folder / trial.run, repeats=True) if composed else None) or trial.settings(repeats=True)
            same = known.setdefault(whole, [])
            if not same:
                same.append(trial)
            elif all(trial.scores == it.scores for it in same):
                again.append(trial)
            else:  # the same run made twice is no repetition
                others.append(Setting([trial], unlike=same[0].run))
        own_trials = [it for same in known.values() for it in same]
        done = {it.settings(repeats=True) for it in group}
        typed = {it.settings(repeats=False) for it in group}
        missing = [it.settings(repeats=True) for it in lost if it.overrides and it.settings(repeats=False) in typed]
        own_trials.sort(key=lambda trial: Setting([trial]).order)
        settings += [Setting(own_trials, again, len({*missing} - done)), *others]
    return [*settings, *(Setting([trial]) for trial in trials if trial.ranking is None)]


def best_settings(settings: Sequence[Setting]) -> dict[Ranking, Setting]:
    """The best setting of each ranking, in the order of the best one."""
    best: dict[Ranking, Setting] = {}
    for setting in sorted(settings, key=lambda setting: setting.order):
        if setting.first.ranking is not None:
            best.setdefault(setting.first.ranking, setting)
    return best


def differing(trials: Sequence[Trial]) -> list[str]:
    """Names of the settings that differ between trials."""
    trials = [trial for trial in trials if trial.status != UNREADABLE]
    names = dict.fromkeys(name for trial in trials for name in trial.overrides)
    return [name for name in names if len({trial.overrides.get(name) for trial in trials}) > 1]


def scores_of(records: Sequence[Record]) -> list[str]:
    """Names of the monitors, then of the test scores, those of the monitors first, without `test/n`."""
    monitors = list(dict.fromkeys(record.monitor for record in records if record.monitor))
    scores = without_bounds(name for record in records for name in record.metrics if name.startswith("test/"))
    first = [name for monitor in monitors if (name := monitor.replace("val/", "test/", 1)) in scores]
    return list(dict.fromkeys([*monitors, *first, *(name for name in scores if name != "test/n")]))


def _overrides(typed: Sequence[str]) -> dict[str, str]:
    """The `key=value` settings of a command line as a dict, without flags and places."""
    found = dict(part.lstrip("+").split("=", 1) for part in typed if "=" in part and not part.startswith("-"))
    return {name: value for name, value in found.items() if name not in PLACES}


def _composed(run: Path, *, repeats: bool) -> str | None:
    """`composed_settings` as text. repeats: with REPEATS."""
    settings = composed_settings(run)
    if settings is None:
        return None
    return json.dumps({key: value for key, value in settings.items() if repeats or key not in REPEATS}, sort_keys=True)


def composed_settings(run: Path) -> dict[str, object] | None:
    """The settings of a run as they were composed, defaults included, by key and without PLACES; None if they cannot be
    read."""
    try:
        at = (run / CONFIG).stat().st_mtime_ns
    except OSError:
        return None
    return _settings_at(run, at)


@cache
def _settings_at(run: Path, at: int) -> dict[str, object] | None:
    """A leaderboard is written after each run of a sweep, and reading a file takes 20 to 40 ms."""
    try:
        found = dict(leaves(read_settings(run / CONFIG)))
    except RunError:
        return None
    place = str(found.get("run_dir", ""))
    settings = {key: value for key, value in found.items() if key not in PLACES}
    return {
        key: value.replace(place, "") if place and isinstance(value, str) else value for key, value in settings.items()
    }


def shared_notes(notes: Mapping[str, Sequence[str]], total: int) -> list[tuple[str, str]]:
    """Each note on data once, after the runs that have it. notes: by name of the run. total: number of runs, also of
    those that did not come to read their data."""
    runs: dict[str, list[str]] = {}
    for name, own in notes.items():
        for note in own:
            runs.setdefault(note, []).append(name)
    return [
        ("all runs" if len(names) == total else f"run{'s' * (len(names) > 1)} {few(names, SHARING)}", note)
        for note, names in runs.items()
    ]
