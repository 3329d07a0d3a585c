"""Notes of a sweep's jobs that were removed, from what else is left of them."""

import csv
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frostline.errors import RunError
from frostline.runs.record import FILE, Record

BOARD = "leaderboard.csv"
KINDS = {"pruned": "Pruned", "failed": None}  # of a note, by the status of a row


def remade(folder: Path, jobs: Sequence[Sequence[str]]) -> dict[int, dict[str, Any]]:
    """The fields of a note by the number of its job: of all jobs that have a run, and of those that failed or were
    dropped before they had one, if their numbers are the names of their folders. jobs: of a grid, what is typed for
    each."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.rglob(FILE)):
        run = path.parent.relative_to(folder).as_posix()
        try:
            typed = shlex.split(Record.read(path.parent).command)[2:]
        except (RunError, ValueError):
            typed = []
        own = [number for number, job in enumerate(jobs) if {*job} <= {*typed}]  # others: paths made absolute
        number = int(run) if run.isdecimal() else None
        if own and number not in own:
            number = next((it for it in own if it not in found), None)
        if number is not None and (not jobs or number < len(jobs)):
            found[number] = {"run": run, "typed": typed}
    for run, status, error in _rows(folder / BOARD):
        number = int(run) if run.isdecimal() else -1
        if (
            error
            and status in KINDS
            and number not in found
            and (0 <= number < len(jobs) or (not jobs and number >= 0))
        ):
            typed = [*jobs[number]] if jobs else []
            found[number] = {"run": run, "typed": typed, "error": error, "kind": KINDS[status], "attempts": 0}
    return found


def _rows(board: Path) -> Iterator[tuple[str, str, str]]:
    """Run, status and error of each row; none if the table cannot be read."""
    try:
        with board.open(encoding="utf-8", newline="") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, ValueError, csv.Error):
        return
    for row in rows:
        yield row.get("run") or "", row.get("status") or "", row.get("error") or ""
