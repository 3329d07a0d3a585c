"""Compare `norm: adapt` with `norm: frozen`: should norm layers of thawed blocks keep updating their statistics?

python benchmarks/norm_mode.py [set ...]       (CIFAR-10 in $FROSTLINE_DATA_DIR)

The default plan from the bundled weights, five seeds each, on five sets: few pictures far from the pretraining data
(100 digits), many such (all digits), and few close to it (2,000 of CIFAR-10, the pretraining data itself). On the last
two sets (10,000 and 45,000 of CIFAR-10) everything learns from the start, for three epochs.
Reported: test accuracy, mean and standard deviation, and in how many seeds each mode was ahead.
"""

import json
import statistics
import sys

from machine import RESULTS, write_result
from sweeps import runs_of

THAWED = ["schedule=full", "schedule.phases.all.lr_scale=1", "schedule.phases.all.epochs=3"]
SETS = {
    "100 digits": ["data.train_limit=100", "data.batch_size=32"],
    "all digits": [],
    "2,000 of cifar10": ["data=cifar10", "data.train_limit=2000"],
    "10,000 of cifar10, all thawed": ["data=cifar10", "data.train_limit=10000", *THAWED],
    "45,000 of cifar10, all thawed": ["data=cifar10", *THAWED],
}
MODES = ("adapt", "frozen")


def main(sets: list[str]) -> None:
    """sets: names in SETS; empty for all. Earlier rows of other sets are preserved."""
    path = RESULTS / "norm_mode.json"
    rows = json.loads(path.read_text())["rows"] if sets and path.is_file() else []
    for name in sets or SETS:
        overrides = SETS[name]
        runs = {mode: runs_of([*overrides, f"schedule.every_phase.norm={mode}"]) for mode in MODES}
        scores = {mode: [float(run["test/accuracy"]) for run in runs[mode]] for mode in MODES}
        pairs = list(zip(scores["adapt"], scores["frozen"], strict=True))
        ahead = {"adapt": sum(a > f for a, f in pairs), "frozen": sum(f > a for a, f in pairs)}
        rows = [row for row in rows if row["set"] != name]
        rows.append({"set": name, "scores": scores, "ahead": ahead})
        shown = [f"{mode} {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f} (ahead in {ahead[mode]})"
                 for mode, values in scores.items()]  # fmt: skip
        print(f"{name:18} {'   '.join(shown)}", flush=True)
        write_result("norm_mode", rows)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
