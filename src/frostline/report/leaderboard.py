"""The runs of a sweep, the best first, in a CSV beside them."""

import csv
import io
import math
import re
from pathlib import Path

from rich import box
from rich.table import Table

from frostline.paths import write_atomically
from frostline.record import FILE, Record
from frostline.report.summary import console_of_width


def write_leaderboard(sweep: Path) -> Path:
    """`leaderboard.csv`: order by validation score, the test score for information. Unfinished runs come last."""
    runs = [(path.parent, Record.read(path.parent)) for path in sorted(sweep.glob(f"*/{FILE}"))]
    runs.sort(key=lambda run: _rank(run[1]))
    columns = _columns([record for _, record in runs])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *columns, "seconds", "command"])
    for folder, record in runs:
        scores = [record.metrics.get(column, "") for column in columns]
        writer.writerow([folder.name, record.status, *scores, round(record.seconds["total"], 1), record.command])
    path = sweep / "leaderboard.csv"
    write_atomically(path, text.getvalue())
    return path


def print_leaderboard(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    table = Table(box=box.SIMPLE_HEAD)
    for column in header[:-1]:
        table.add_column(column, justify="left" if column in ("run", "status") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_short(cell) for cell in row[:-1]))
    console = console_of_width()
    console.print(table)
    console.print(f"leaderboard  {path}")


def _short(cell: str) -> str:
    return f"{float(cell):.4f}" if re.fullmatch(r"-?\d+\.\d{5,}(e-?\d+)?", cell) else cell


def _rank(record: Record) -> float:
    score = record.metrics.get(record.monitor)
    return math.inf if score is None else score if record.mode == "min" else -score


def _columns(records: list[Record]) -> list[str]:
    """What chose the best epochs, then the test scores."""
    monitors = [record.monitor for record in records if record.monitor]
    scores = [name for record in records for name in record.metrics if name.startswith("test/") and name != "test/n"]
    return list(dict.fromkeys(monitors + scores))
