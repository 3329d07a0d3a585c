"""What the bundled weights are worth: 10 handwritten digits a class, five seeds each.

python benchmarks/bundled_worth.py

The same network, head, data, epochs and batches; the test part is the same 359 digits for every seed, while the seed
chooses the 100 training digits. From scratch it is trained in two ways: by the very same plan, and by the plan that
suits it best (everything from the first step at the whole rate).
"""

import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import write_result

COMMON = [
    "-m",
    "data.train_limit=100",
    "data.batch_size=32",
    "seed=0,1,2,3,4",
    "callbacks.progress=null",
    "logger=none",
]
WAYS = {
    "bundled, two_stage": ["schedule.phases.head.epochs=20", "schedule.phases.all.epochs=40"],
    "scratch, two_stage": [
        "model.weights=null",
        "schedule.phases.head.epochs=20",
        "schedule.phases.all.epochs=40",
    ],
    "scratch, full": ["model.weights=null", "schedule=full", "schedule.phases.all.epochs=60"],
}


def main() -> None:
    rows = []
    for way, overrides in WAYS.items():
        with tempfile.TemporaryDirectory() as logs:
            command = [sys.executable, "-m", "frostline", "train", *COMMON, *overrides, f"logs_dir={logs}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (board,) = Path(logs).glob("sweeps/*/*/leaderboard.csv")
            with board.open() as file:
                scores = [float(row["test/accuracy"]) for row in csv.DictReader(file)]
        mean, spread = statistics.mean(scores), statistics.stdev(scores)
        rows.append({"way": way, "mean": mean, "std": spread, "scores": scores, "overrides": overrides})
        print(
            f"{way:20} test accuracy {mean:.3f} ± {spread:.3f}   ({', '.join(f'{s:.3f}' for s in scores)})", flush=True
        )
    print(write_result("bundled_worth", rows))


if __name__ == "__main__":
    main()
