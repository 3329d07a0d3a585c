"""What `sweep=plans` finds within some minutes, against `sweep=random` over the same space within the same minutes.

python benchmarks/plans_worth.py <folder of pictures> 3 [data.image_size=96 seed=1 ...]

Minutes are those of the runs together, as run.json counts them; a run that ends after them does not count. Each search
has an empty cache. Scores are of the run that is best by validation until then; random search has no test score of its
own choice before its end, so each run is tested.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import write_result

MODELS = "model=efficientnet_lite0,efficientnet_lite1"
JOB = ["trainer=cpu", "logger=none", "report=false", "sweep.test=all", "data=image_folder"]
RANDOM = ["sweep=random", "sweep.trials=1000", "optimizer.lr=tag(log,interval(1e-4,1e-2))", "head=linear,mlp"]
RANDOM += ["schedule=head_only,last_block,two_stage,full"]


def main(folder: str, minutes: float, own: list[str]) -> None:
    seed = next((it.partition("=")[2] for it in own if it.startswith("seed=")), "0")
    models = [] if any(it.startswith("model=") for it in own) else [MODELS]
    job = [*JOB, f"data.dir={folder}", *models, *own]
    ways = {"plans": ["sweep=plans", f"sweep.minutes={minutes}"], "random": [*RANDOM, f"sweep.draw={seed}"]}
    rows = []
    for name, own in ways.items():
        with tempfile.TemporaryDirectory() as scratch:
            runs = _searched(Path(scratch), [*job, *own], 60 * minutes)
        for share in (0.5, 1.0):
            rows.append({"way": name, "share": share, **_best(runs, share * 60 * minutes)})
            print(rows[-1], flush=True)
        rows.append({"way": name, "runs": runs})
    print(write_result(f"plans_worth_{Path(folder).name}_{seed}", [{"minutes": minutes, "job": job}, *rows]))


def _searched(scratch: Path, typed: list[str], seconds: float) -> list[dict[str, Any]]:
    """The runs of a search in their order. It is ended once its runs have taken `seconds` together."""
    places = [f"hydra.sweep.dir={scratch}/sweep", f"cache.dir={scratch}/cache"]
    command = [sys.executable, "-m", "frostline", "train", "-m", *typed, *places]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None and sum(run["seconds"] for run in _runs(scratch)) < seconds:
        time.sleep(0.5)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return _runs(scratch)


def _runs(scratch: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(scratch.glob("sweep/*/run.json"), key=lambda path: int(path.parent.name)):
        record = json.loads(path.read_text())
        if record["status"] in ("running", "interrupted"):
            continue
        scores = {name: record["metrics"].get(f"{name}/accuracy") for name in ("val", "test")}
        found.append({"command": record["command"], "seconds": record["seconds"]["total"], **scores})
    return found


def _best(runs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    spent, done = 0.0, []
    for run in runs:
        spent += run["seconds"]
        if spent <= seconds and run["val"] is not None:
            done.append(run)
    best = max(done, key=lambda run: run["val"], default={"val": None, "test": None, "command": None})
    return {"runs": len(done), **{name: best[name] for name in ("val", "test", "command")}}


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
