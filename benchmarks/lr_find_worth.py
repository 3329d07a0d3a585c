"""Score training at the rates that `frostline lr_find` suggests, next to a tenth and ten times of them.

python benchmarks/lr_find_worth.py [set ...]        (CIFAR-10 in $FROSTLINE_DATA_DIR)

For each set: run lr_find once, then train the plan at the suggested base rate times each of FACTORS, with the suggested
`lr_scale` of each phase, and at the rate in conf/optimizer; only at the latter if lr_find suggests none. The test split
plays no role in any choice.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import RESULTS, write_result

NAME = "lr_find_worth"
FACTORS = (0.1, 1, 10)
CIFAR = ["data=cifar10", "data.train_limit=5000", "schedule.phases.all.epochs=2", "trainer.limit_val_batches=20"]
SETS = {
    "digits, two_stage, adamw": [],
    "digits, two_stage, sgd": ["optimizer=sgd"],
    "5,000 of cifar10, two_stage, adamw": ["schedule.phases.head.epochs=1", *CIFAR],
    "5,000 of cifar10, full from scratch, sgd": [
        "schedule=full",
        "schedule.phases.all.lr_scale=1",
        "model.weights=null",
        "optimizer=sgd",
        *CIFAR,
    ],
}
COLUMNS = ("val/accuracy", "test/accuracy", "test/loss")


def main(names: list[str]) -> None:
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text())["rows"] if names and path.is_file() else []
    for name in names or SETS:
        rows = [row for row in rows if row["set"] != name] + [measured(name, SETS[name])]
    print(write_result(NAME, rows))


def measured(name: str, overrides: list[str]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as logs:
        said = _found(overrides, Path(logs))
        base = said["settings"].pop("optimizer.lr", None)
        scales = [f"{key}={value}" for key, value in said["settings"].items()]
        tried = {}
        if base is not None:
            rates = {f"{factor:.2g} x": base * factor for factor in FACTORS}
            tried = dict(zip(rates, _trained([*overrides, *scales], list(rates.values()), Path(logs)), strict=True))
        tried |= {"as configured": _trained(overrides, [], Path(logs))[0]}
    print(f"{name}: " + (f"optimizer.lr={base:g} {' '.join(scales)}" if base is not None else "no rate is suggested"))
    for label, scores in tried.items():
        print(f"  {label:14} {'   '.join(f'{column} {scores[column]:.4f}' for column in COLUMNS)}", flush=True)
    return {"set": name, "overrides": overrides, "suggested": said["next"], "trained": tried}


def _found(overrides: list[str], logs: Path) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "frostline", "lr_find", *overrides, f"lr_find.output={logs / 'found'}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    said: dict[str, dict[str, float]] = json.loads((logs / "found" / "rates.json").read_text())
    return said


def _trained(overrides: list[str], rates: list[float], logs: Path) -> list[dict[str, float]]:
    """Return scores at each rate, in the order of `rates`; without rates, at the one in conf/optimizer."""
    place = logs / ("swept" if rates else "configured")
    swept = [f"optimizer.lr={','.join(f'{rate:g}' for rate in rates)}"] if rates else ["seed=0"]
    command = [sys.executable, "-m", "frostline", "train", "-m", *overrides, *swept, "sweep.test=all"]
    command += ["logger=none", f"logs_dir={place}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (board,) = place.glob("sweeps/*/*/leaderboard.csv")
    with board.open() as file:
        runs = sorted(csv.DictReader(file), key=lambda row: int(row["run"]))
    return [{column: float(run[column]) for column in COLUMNS} for run in runs]


if __name__ == "__main__":
    main(sys.argv[1:])
