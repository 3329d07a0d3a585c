"""The runs of a sweep, the best first, in a CSV beside them."""

import csv
import io
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table

from frostline.errors import first_line, shown
from frostline.paths import write_atomically
from frostline.record import FILE, Record
from frostline.report.summary import console_of_width, program

LONG = ("error", "command")
NOT_SHOWN = ("status", *LONG)  # in the table, as settings need the room; below it stands which did not finish, and why


class Trial(NamedTuple):
    """A run of a sweep, or what there would have been one of. error: why it did not finish."""

    run: str
    status: str
    overrides: dict[str, str]
    record: Record | None
    error: str

    @classmethod
    def of(cls, folder: Path) -> "Trial":
        record = Record.read(folder)
        error = "" if record.error is None else "".join(record.error["message"].splitlines()[:1])
        return cls(folder.name, record.status, _said(shlex.split(record.command)), record, error)

    @property
    def rank(self) -> float:
        score = None if self.record is None else self.record.metrics.get(self.record.monitor)
        if self.record is None or score is None:
            return math.inf
        return score if self.record.mode == "min" else -score


def write_leaderboard(sweep: Path, lost: Sequence[tuple[str, Sequence[str], BaseException]] = ()) -> Path:
    """`leaderboard.csv`: order by validation score, the test score for information. Unfinished runs come last.

    lost: number, overrides and error of runs that failed before they had a folder. There is one run at least.
    """
    trials = [Trial.of(path.parent) for path in sweep.glob(f"*/{FILE}")]
    trials += [Trial(run, "failed", _said(typed), None, first_line(error)) for run, typed, error in lost]
    trials.sort(key=lambda trial: (trial.rank, len(trial.run), trial.run))
    settings, scores = _differing(trials), _scores([trial.record for trial in trials if trial.record is not None])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *settings, *scores, "seconds", *LONG])
    for trial in trials:
        said = [trial.run, trial.status, *(trial.overrides.get(setting, "") for setting in settings)]
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
    console.print(f"leaderboard  {path}")
    if rows[0]["status"] == "finished":
        console.print(f"next         {program()} evaluate run={path.parent / rows[0]['run']}")


def _short(cell: str) -> str:
    return f"{float(cell):.4f}" if re.fullmatch(r"-?\d+\.\d{5,}(e-?\d+)?", cell) else cell


def _said(typed: Sequence[str]) -> dict[str, str]:
    """The settings of a command line, by name, without options."""
    return dict(part.lstrip("+").split("=", 1) for part in typed if "=" in part and not part.startswith("-"))


def _differing(trials: Sequence[Trial]) -> list[str]:
    """Settings that are not the same in all."""
    names = dict.fromkeys(name for trial in trials for name in trial.overrides)
    return [name for name in names if len({trial.overrides.get(name) for trial in trials}) > 1]


def _scores(records: Sequence[Record]) -> list[str]:
    """What chose the best epochs, then the test scores."""
    monitors = [record.monitor for record in records if record.monitor]
    scores = [name for record in records for name in record.metrics if name.startswith("test/") and name != "test/n"]
    return list(dict.fromkeys(monitors + scores))
