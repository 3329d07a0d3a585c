"""Notes of a sweep's jobs that were removed, from what else is left of them."""

import csv
import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from frostline.errors import RunError
from frostline.quoting import key_of
from frostline.runs.record import FILE, Record
from frostline.runs.sweep_names import BOARD, PRUNED, REPEATED, RUNS

KINDS = {"pruned": PRUNED, "failed": None}  # of a note, by the status of a row
BEHIND = ("ranked_by", REPEATED, "low", "seconds")  # columns of a leaderboard behind those of settings; and scores

Row = Mapping[str, str]


def remade(folder: Path, jobs: Sequence[Sequence[str]]) -> dict[int, dict[str, Any]]:
    """The fields of a note by the number of its job: of all jobs that have a run, and of those that failed or were
    dropped before they had one, if their numbers are the names of their folders. A job has none if it is not known what
    was typed for it, so that it counts as new. jobs: of a grid, what is typed for each; empty for a search."""
    found: dict[int, dict[str, Any]] = {}
    unread = []
    for path in sorted(folder.rglob(FILE)):
        run = path.parent.relative_to(folder).as_posix()
        try:
            typed = shlex.split(Record.read(path.parent).command)[2:]
        except (RunError, ValueError):
            unread.append(run)
            continue
        own = [number for number, job in enumerate(jobs) if {*job} <= {*typed}]  # others: paths made absolute
        number = int(run) if run.isdecimal() else None
        if own and number not in own:
            number = next((it for it in own if it not in found), None)
        if number is not None and (not jobs or number < len(jobs)):
            found[number] = {"run": run, "typed": typed}
    rows = _rows(folder)
    other = next((it["typed"] for it in found.values()), None)
    for run in dict.fromkeys([*unread, *rows]):
        number = int(run) if run.isdecimal() else -1
        row = rows.get(run, {})
        if number < 0 or number in found:
            continue
        if jobs:
            known = [*jobs[number]] if number < len(jobs) else None
        else:
            known = None if other is None or not row else _rebuilt(row, other)
        if known is not None and run in unread:
            found[number] = {"run": run, "typed": known}
        elif known is not None and row["error"] and row["status"] in KINDS:
            kind = KINDS[row["status"]]
            found[number] = {"run": run, "typed": known, "error": row["error"], "kind": kind, "attempts": 0}
    return found


def _rebuilt(row: Row, other: Sequence[str]) -> list[str] | None:
    """What was typed for the job of a row: settings without a column are those of every job. other: of another job.
    None if the row is one of several with these settings."""
    if REPEATED in row:
        return None
    names = [*takewhile(lambda name: name not in BEHIND and not name.startswith(("val/", "test/")), [*row][2:])]
    own = {name: row[name] for name in names}
    typed = [f"{it.partition('=')[0]}={own.pop(key_of(it))}" if key_of(it) in own else it for it in other]
    typed += [f"{name}={value}" for name, value in own.items()]
    return [it for it in typed if not (key_of(it) in names and it.endswith("="))]  # empty: it was not typed


def _rows(folder: Path) -> dict[str, Row]:
    """Each row by its run; none if the table cannot be read. Rows of single runs, if settings are repeated."""
    try:
        rows = _table(folder / BOARD)
        if any(REPEATED in row for row in rows) and (folder / RUNS).is_file():
            rows = _table(folder / RUNS)
    except (OSError, ValueError, csv.Error):
        return {}
    return {row["run"]: row for row in rows if {"run", "status", "error"} <= {*row}}


def _table(path: Path) -> list[Row]:
    """Raises OSError, ValueError or csv.Error if it cannot be read. Columns and cells that a row has too many or too
    few are left out."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    return [{name: cell for name, cell in row.items() if isinstance(name, str) and cell is not None} for row in rows]
