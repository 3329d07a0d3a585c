"""Kill runs at random moments (SIGKILL), resume them until they end, and compare them with an undisturbed run.

python benchmarks/kill_resume.py 50

Each run is killed up to five times, at any moment from its start on: during imports, within an epoch, in validation,
while a checkpoint is written, while it resumes. It survives if its weights (best and last) and the metrics in run.json
are bit-identical to those of the undisturbed run. Dropout and augmentation are on; float32.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from machine import write_result

KILLS_PER_RUN = 5
ENDED = "the run had ended"
JOB = ["data.train_limit=600", "data.batch_size=30", "trainer=cpu", "trainer.precision=32-true", "head=mlp"]
JOB += ["head.hidden=[32]", "schedule.phases.head.epochs=4", "schedule.phases.all.epochs=4", "logger=none"]
JOB += ["callbacks.safety.every_minutes=0.01", "seed=3"]  # several checkpoints within an epoch


def main(kills: int) -> None:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        for folder in (Path(scratch) / "cold", whole):  # only the second is timed: the first reads files from disk
            seconds = time.perf_counter()
            assert _start(f"run_dir={folder}", f"cache.dir={folder}-cache", *JOB).wait() == 0
            seconds = time.perf_counter() - seconds
        survived, killed = 0, 0
        runs: list[dict[str, Any]] = []
        while killed < kills:
            run = Path(scratch) / f"run{len(runs)}"
            moments = _killed_and_resumed(run, draw, seconds, min(KILLS_PER_RUN, kills - killed))
            same = _result(run) == _result(whole) and all(_same(run, whole, name) for name in ("best", "last"))
            killed += len(moments)
            survived += len(moments) * same
            runs.append({"kills": moments, "same": same})
            print(f"run {len(runs):3}   killed {len(moments)} times   {'same' if same else 'DIFFERENT'}", flush=True)
    print(f"survived {survived} of {killed} kills")
    print(write_result("kill_resume", [{"kills": killed, "survived": survived, "seconds_of_a_run": seconds}, *runs]))
    sys.exit(survived != killed)


def _killed_and_resumed(run: Path, draw: random.Random, seconds: float, kills: int) -> list[str]:
    """Kill and resume a run; return the state of its folder at each kill."""
    moments: list[str] = []
    command = [f"run_dir={run}", f"cache.dir={run}-cache", *JOB]  # an own cache, so that kills also hit its filling
    while True:
        process = _start(*command)
        if len(moments) == kills:
            assert process.wait() == 0
            return moments
        try:
            process.wait(draw.uniform(0.1, 0.9) * seconds)
            return moments  # it ended before the kill
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        moments.append(_stand(run))
        if moments[-1] == ENDED:
            return moments
        command = [f"resume={run}"] if (run / "run.json").is_file() else command


def _stand(run: Path) -> str:
    if not (run / "run.json").is_file():
        return "before the run began"
    record = json.loads((run / "run.json").read_text())
    if record["status"] == "finished":
        return ENDED
    phases = [row["name"] for row in record["phases"]]
    draft = any(run.glob("checkpoints/.*.draft"))
    return f"{len(phases)} phases done" + (", in the middle of a checkpoint" if draft else "")


def _start(*overrides: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "frostline", "train", *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _result(run: Path) -> Any:
    record = json.loads((run / "run.json").read_text())
    baselines = {name: row["val/accuracy"] for name, row in record["baselines"].items()}
    scores = record["metrics"], record["per_class"], [row["val"] for row in record["phases"]]
    return record["status"], baselines, *scores


def _same(run: Path, whole: Path, name: str) -> bool:
    files = (folder / "checkpoints" / f"{name}.ckpt" for folder in (run, whole))
    now, before = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    return now.keys() == before.keys() and all(torch.equal(now[key], before[key]) for key in before)


if __name__ == "__main__":
    main(int(sys.argv[1]))
