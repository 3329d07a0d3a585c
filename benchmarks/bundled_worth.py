"""Measure what the bundled weights are worth: 10 handwritten digits per class, five seeds each.

python benchmarks/bundled_worth.py [way ...]

All ways share network, head, data, epochs and batches; the test split is the same 359 digits for every seed, which
chooses the 100 training digits. Training from scratch uses two plans: the same one, and a better suited one (everything
from the first step at the full rate). Each way gets the learning rate in RATES with its best mean validation accuracy;
the test split plays no role in that choice.
"""

import json
import statistics
import sys

from machine import RESULTS, write_result
from sweeps import runs_of

FEW = ["data.train_limit=100", "data.batch_size=32"]
RATES = ("3e-3", "1e-2", "3e-2")
SHORT = [
    "schedule.every_phase.solve=false",
    "schedule.phases.head.epochs=3",
    "schedule.phases.all.epochs=7",
]  # the epochs of the default plan
LONG = ["schedule.every_phase.solve=false", "schedule.phases.head.epochs=20", "schedule.phases.all.epochs=40"]
WAYS = {
    "bundled, 10 epochs": SHORT,
    "scratch, 10 epochs": ["model.weights=null", *SHORT],
    "bundled, 60 epochs": LONG,
    "scratch, 60 epochs": ["model.weights=null", *LONG],
    "scratch, 60 epochs of all": [
        "model.weights=null",
        "schedule=full",
        "schedule.phases.all.lr_scale=1",
        "schedule.phases.all.epochs=60",
    ],
}


def main(ways: list[str]) -> None:
    """ways: names in WAYS; empty for all. Earlier rows of other ways are preserved."""
    path = RESULTS / "bundled_worth.json"
    rows = json.loads(path.read_text())["rows"] if ways and path.is_file() else []
    for way in ways or WAYS:
        rows = [row for row in rows if row["way"] != way] + [_measured(way)]
        write_result("bundled_worth", rows)
    print(path)


def _measured(way: str) -> dict[str, object]:
    tried = {rate: runs_of([*FEW, *WAYS[way], f"optimizer.lr={rate}"]) for rate in RATES}
    best = max(RATES, key=lambda rate: _mean(tried[rate], "val/accuracy"))
    scores = [float(run["test/accuracy"]) for run in tried[best]]
    mean, spread = statistics.mean(scores), statistics.stdev(scores)
    shown = ", ".join(f"{score:.3f}" for score in sorted(scores))
    print(f"{way:25} lr {best}   test accuracy {mean:.3f} ± {spread:.3f}   ({shown})", flush=True)
    return {"way": way, "lr": best, "mean": mean, "std": spread, "scores": scores, "overrides": WAYS[way]}


def _mean(runs: list[dict[str, str]], column: str) -> float:
    return statistics.mean(float(run[column]) for run in runs)


if __name__ == "__main__":
    main(sys.argv[1:])
