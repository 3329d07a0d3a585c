"""The runs of a sweep, the best first, in a CSV beside them."""

import csv
import io
from pathlib import Path

from frostline.paths import write_atomically
from frostline.record import FILE, Record

COLUMNS = ("val/accuracy", "test/accuracy", "test/f1_macro", "test/loss")


def write_leaderboard(sweep: Path) -> Path:
    """`leaderboard.csv`: order by validation score, the test score for information. Unfinished runs come last."""
    runs = [(path.parent, Record.read(path.parent)) for path in sorted(sweep.glob(f"*/{FILE}"))]
    runs.sort(key=lambda run: -(run[1].metrics.get("val/accuracy") or -1.0))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *COLUMNS, "seconds", "command"])
    for folder, record in runs:
        scores = [record.metrics.get(column, "") for column in COLUMNS]
        writer.writerow([folder.name, record.status, *scores, round(record.seconds["total"], 1), record.command])
    path = sweep / "leaderboard.csv"
    write_atomically(path, text.getvalue())
    return path
