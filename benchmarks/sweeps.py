"""Run a training over five seeds, as a `frostline train` sweep, and read the leaderboard of a sweep."""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

COMMON = ["-m", "seed=0,1,2,3,4", "sweep.test=all", "callbacks.progress=null", "logger=none"]


def runs_of(overrides: list[str]) -> list[dict[str, str]]:
    """Return the row of each run, in the order of the seeds."""
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, "-m", "frostline", "train", *COMMON, *overrides, f"logs_dir={logs}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (board,) = Path(logs).glob("sweeps/*/*/runs.csv")
        with board.open() as file:
            return sorted(csv.DictReader(file), key=lambda row: int(row["run"]))


def leaderboard_of(sweep: Path) -> list[dict[str, str]]:
    """Return its rows as they are for any folder and speed."""
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{name: it.replace(str(sweep), "<sweep>") for name, it in row.items() if name != "seconds"} for row in rows]
