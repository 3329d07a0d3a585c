"""Rank the runs of a sweep, best first, in a CSV in the sweep's folder."""

import csv
import io
import math
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from frostline.errors import few, in_short, shown
from frostline.paths import write_atomically
from frostline.quoting import setting_of
from frostline.report.repetitions import lines_of, repeated, write_means
from frostline.report.summary import console_of_width, program
from frostline.runs.record import FILE, Record
from frostline.runs.sweeps import lost_of

LONG = ("error", "command")
NOT_SHOWN = ("status", *LONG)  # left out of the table to make room for settings; failed runs are listed below it
MOST_EQUAL = 6  # groups of equal runs to name


class Ranking(NamedTuple):
    """Runs with equal values have comparable scores. data: name of the data set; fingerprint: hash of its samples."""

    monitor: str
    mode: str
    data: str
    fingerprint: str


class Trial(NamedTuple):
    """A run of a sweep. record: None if it failed before it had a folder. error: why it did not finish, or ""."""

    run: str
    status: str
    overrides: dict[str, str]
    record: Record | None
    error: str

    @classmethod
    def of(cls, sweep: Path, folder: Path) -> "Trial":
        record = Record.read(folder)
        error = "" if record.error is None else in_short(record.error["message"])
        name = folder.relative_to(sweep).as_posix()
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


def runs_of(sweep: Path) -> list[Path]:
    """The run folders, at any depth, as `hydra.sweep.subdir` may nest them."""
    return [path.parent for path in sweep.rglob(FILE)]


def write_leaderboard(sweep: Path) -> Path:
    """Write `leaderboard.csv`, ordered by validation score, with the test scores for information. Unfinished runs come
    last. Runs whose scores cannot be compared are ranked separately, and the column `ranked_by` names the ranking. The
    sweep has at least one run, or a job that failed before it had one.
    """
    trials = [Trial.of(sweep, folder) for folder in runs_of(sweep)]
    trials += [Trial(run, "failed", _said(typed), None, error) for run, typed, error in lost_of(sweep)]
    sizes = Counter(trial.ranking for trial in trials if trial.ranking is not None)
    rankings: list[Ranking | None] = [*sorted(sizes, key=lambda ranking: (-sizes[ranking], ranking)), None]
    trials.sort(key=lambda trial: (rankings.index(trial.ranking), trial.rank, len(trial.run), trial.run))
    settings, scores = _differing(trials), _scores([trial.record for trial in trials if trial.record is not None])
    apart = ["ranked_by"] if len(sizes) > 1 else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *settings, *apart, *scores, "seconds", *LONG])
    for trial in trials:
        said = [trial.run, trial.status, *(trial.overrides.get(setting, "") for setting in settings)]
        said += [_label(trial.ranking, rankings) for _ in apart]
        if trial.record is None:
            writer.writerow([*said, *("" for _ in scores), "", trial.error, ""])
            continue
        found = [trial.record.metrics.get(score, "") for score in scores]
        seconds = round(trial.record.seconds["total"], 1)
        writer.writerow([*said, *found, seconds, trial.error, trial.record.command])
    path = sweep / "leaderboard.csv"
    write_atomically(path, text.getvalue())
    return path


def print_leaderboard(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in rows[0] if column not in NOT_SHOWN]
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="left" if column == "run" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(shown(_short(row[column])) for column in columns))
    console = console_of_width()
    console.print(table)
    for row in rows:
        if row["error"]:
            console.print(f"{row['status']:11}  {row['run']}: {shown(str(row['error']))}")
    trials = [Trial.of(path.parent, folder) for folder in runs_of(path.parent)]
    for names, equal in _without_effect(trials).items():
        console.print(f"equal        {_equal(names, equal)}")
    _print_means(path.parent, trials, console)
    if "ranked_by" in rows[0]:
        console.print("separate     scores of different monitors or data cannot be compared: see ranked_by")
    console.print(f"leaderboard  {path}")
    _print_next(path.parent, rows, console)


def _print_means(sweep: Path, trials: Sequence[Trial], console: Console) -> None:
    """Print and write mean and spread over repetitions, if all ranked runs have comparable scores."""
    ranked = sorted((trial for trial in trials if trial.ranking is not None), key=lambda trial: trial.rank)
    # Splits by other seeds have the same samples, so that their rankings are equal.
    if len({trial.ranking for trial in ranked}) != 1:
        return
    names = _differing(trials)
    runs = [
        ({name: trial.overrides.get(name, "") for name in names}, trial.record)
        for trial in ranked
        if trial.record is not None
    ]
    means = repeated(runs, _scores([record for _, record in runs]))
    for line in lines_of(means):
        console.print(f"mean         {shown(line)}")
    if means:
        console.print(f"means        {write_means(sweep, means)}")


def _print_next(sweep: Path, rows: Sequence[dict[str, str]], console: Console) -> None:
    """Print the command that evaluates the best run of each ranking, if its weights were saved."""
    best = {row.get("ranked_by", ""): row["run"] for row in reversed(rows) if row["status"] == "finished"}
    for label, run in reversed(best.items()):
        record = Record.read(sweep / run)
        kept = [name for name in ("best", "last") if record.checkpoints.get(name) is not None]
        if kept:
            settings = ["checkpoint=last"] * (kept[0] != "best") + ["trust=true"] * bool(record.foreign)
            said = " ".join([shlex.quote(program()), "evaluate", setting_of("run", sweep / run), *settings])
            console.print(f"next         {said}" + (f"   # the best {label}" if label else ""))


def _short(cell: str) -> str:
    return f"{float(cell):.4f}" if re.fullmatch(r"-?\d+\.\d{5,}(e-?\d+)?", cell) else cell


def _said(typed: Sequence[str]) -> dict[str, str]:
    """The `key=value` settings of a command line as a dict, without flags."""
    return dict(part.lstrip("+").split("=", 1) for part in typed if "=" in part and not part.startswith("-"))


def _differing(trials: Sequence[Trial]) -> list[str]:
    """Names of the settings that differ between trials."""
    names = dict.fromkeys(name for trial in trials for name in trial.overrides)
    return [name for name in names if len({trial.overrides.get(name) for trial in trials}) > 1]


def _scores(records: Sequence[Record]) -> list[str]:
    """Names of the monitors, then of the test scores, without `test/n`."""
    monitors = [record.monitor for record in records if record.monitor]
    scores = [name for record in records for name in record.metrics if name.startswith("test/") and name != "test/n"]
    return list(dict.fromkeys(monitors + scores))


def _label(ranking: Ranking | None, rankings: Sequence[Ranking | None]) -> str:
    """Name a ranking by its monitor; add data and fingerprint only where the monitor is ambiguous."""
    others = [other for other in rankings if other is not None and other != ranking]
    if ranking is None:
        return ""
    said = ranking.monitor
    if any(other.monitor == ranking.monitor for other in others):
        said += f" of {ranking.data}"
    if any((other.monitor, other.data) == (ranking.monitor, ranking.data) for other in others):
        said += f" ({ranking.fingerprint[:6]})"
    return said


def _without_effect(trials: Sequence[Trial]) -> dict[tuple[str, ...], list[list[Trial]]]:
    """Group finished runs whose scores are bit-identical in every phase, by the settings in which they differ."""
    alike: dict[str, list[Trial]] = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: (len(trial.run), trial.run)):
        if trial.record is not None and trial.ranking is not None and trial.record.phases:
            scores: list[Any] = [trial.record.metrics, *(phase.get("val") for phase in trial.record.phases)]
            alike[repr(scores)].append(trial)
    found: dict[tuple[str, ...], list[list[Trial]]] = defaultdict(list)
    for equal in alike.values():
        if names := _differing(equal):
            found[tuple(names)].append(equal)
    return found


def _equal(names: Sequence[str], groups: Sequence[Sequence[Trial]]) -> str:
    runs = few([" = ".join(trial.run for trial in group) for group in groups], MOST_EQUAL)
    said = f"runs {runs}: {' and '.join(names)} made no difference to any score"
    phases = [phase for group in groups for trial in group if trial.record is not None for phase in trial.record.phases]
    if all(phase.get("solved") for phase in phases) and all(name.partition(".")[0] == "optimizer" for name in names):
        said += "; a solved head uses no optimizer (schedule.every_phase.solve=false trains it step by step)"
    return said
