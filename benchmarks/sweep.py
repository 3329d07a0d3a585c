"""Time the same head trials as one process, with two workers, and as a process each, started one after the other.

python benchmarks/sweep.py 20 [schedule.phases.head.epochs=30 ...]
python benchmarks/sweep.py unequal      two workers alone, 20 trials of 40 and 80 epochs

The digits with the bundled network: `head=mlp schedule=head_only`, rates × dropouts. Each way has an empty cache. Idle
is the share of the workers' time, from the first start of a run to the last end, in which they had no run; the seconds
of a run are those in run.json. `overhead` is what a run takes beside its fit (the median), and what lies between two
runs (the mean).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import write_result

JOB = ["trainer=cpu", "logger=none", "report=false", "head=mlp", "schedule=head_only", "sweep.test=all"]
RATES = ["1e-3", "3e-4", "3e-3", "1e-4", "1e-2"]
DROPOUTS = ["0.1", "0.2", "0.3", "0.5"]
WORKERS = 2
IN_PARALLEL = ["launcher=local", f"launcher.workers={WORKERS}"]
UNEQUAL = [
    "schedule.phases.head.epochs=40,80",
    f"head.dropout={','.join(DROPOUTS[:2])}",
    f"optimizer.lr={','.join(RATES)}",
]


def main(trials: int, own: list[str]) -> None:
    dropouts = DROPOUTS[: max(1, trials // len(RATES))]
    grid = [f"optimizer.lr={','.join(RATES)}", f"head.dropout={','.join(dropouts)}"]
    rows = []
    for name, launcher in (("one process", []), ("two workers", IN_PARALLEL)):
        rows.append(_swept(name, [*own, *grid, *launcher], WORKERS if launcher else 1))
    with tempfile.TemporaryDirectory() as scratch:
        seconds = 0.0
        for number, (rate, dropout) in enumerate((rate, dropout) for rate in RATES for dropout in dropouts):
            trial = [f"optimizer.lr={rate}", f"head.dropout={dropout}", f"run_dir={scratch}/runs/{number}"]
            alone = [it for it in JOB if not it.startswith("sweep.")]
            seconds += _timed(scratch, *alone, *own, *trial)
        rows.append(_row("a process each", seconds, [*Path(scratch).glob("runs/*/run.json")], 1))
    print(write_result("sweep" if not own else "sweep_longer", [{"own": own}, *rows]))


def _swept(name: str, settings: list[str], workers: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        seconds = _timed(scratch, "-m", *JOB, *settings, f"hydra.sweep.dir={scratch}/sweep")
        return _row(name, seconds, [*Path(scratch).glob("sweep/*/run.json")], workers)


def _timed(scratch: str, *arguments: str) -> float:
    begun = time.perf_counter()
    command = [sys.executable, "-m", "frostline", "train", *arguments, f"cache.dir={scratch}/cache"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _row(name: str, seconds: float, runs: list[Path], workers: int) -> dict[str, Any]:
    ends = [run.stat().st_mtime for run in runs]
    parts = [json.loads(run.read_text())["seconds"] for run in runs]
    took = [own["total"] for own in parts]
    span = max(ends) - min(end - own for end, own in zip(ends, took, strict=True))
    idle = max(0.0, 1 - sum(took) / (workers * span)) if len(runs) > 1 else 0.0
    within = statistics.median(own["total"] - own["fit"] for own in parts)
    row = {"way": name, "trials": len(runs), "seconds": seconds, "in_runs": sum(took), "idle": idle}
    row |= {"overhead": within + idle * workers * span / len(runs), "within": within}
    print(f"{name:15} {len(runs)} trials   {seconds:7.1f} s   {sum(took):7.1f} s in runs   idle {idle:.0%}   "
          f"overhead {row['overhead']:.2f} s a run, {within:.2f} s of it within", flush=True)  # fmt: skip
    return row


if __name__ == "__main__":
    if sys.argv[1:] == ["unequal"]:
        print(write_result("sweep_unequal", [_swept("two workers", [*UNEQUAL, *IN_PARALLEL], WORKERS)]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:])
