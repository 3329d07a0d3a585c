"""Kill a sweep at random moments (SIGKILL), resume it until it ends, and compare its leaderboard with that of an
undisturbed sweep.

python benchmarks/sweep_kills.py 20
python benchmarks/sweep_kills.py 20 faked    # runs that train nothing (tests/faked.py); all else is real

Each sweep is killed up to five times, at any moment from its start on: before it has a folder, between two jobs, within
one, while the leaderboard is written, while it resumes. It survives if `leaderboard.csv` has the same rows in the same
order, the seconds apart, and every run finished.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import write_result
from sweeps import leaderboard_of

KILLS_PER_SWEEP = 5
JOB = ["data.train_limit=100", "data.image_size=8", "trainer=cpu", "trainer.precision=32-true", "logger=none"]
JOB += ["schedule.every_phase.solve=false", "schedule.phases.head.epochs=2", "schedule.phases.all.epochs=2"]
SWEEP = [*JOB, "optimizer.lr=0.1,0.01", "sweep.seeds=2", "model.weights=none.pth,null"]
FAKED = "faked"
FAKED_SWEEP = ["logger=none", "report=false", "trainer=cpu", "sweep.test=none", "optimizer.lr=0.1,0.01,0.03"]
FAKED_SWEEP += ["sweep.seeds=4", "model.weights=none.pth,null"]
ROOT = Path(__file__).resolve().parents[1]
FOUND = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))}


def main(kills: int, module: str = "frostline") -> None:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        seconds = time.perf_counter()
        assert _start(module, "-m", *_at(module, whole)).wait() == 1  # the jobs without weights fail
        seconds = time.perf_counter() - seconds
        survived, killed = 0, 0
        sweeps: list[dict[str, Any]] = []
        while killed < kills:
            sweep = Path(scratch) / f"sweep{len(sweeps)}"
            moments = _killed_and_resumed(module, sweep, draw, seconds, min(KILLS_PER_SWEEP, kills - killed))
            same = leaderboard_of(sweep) == leaderboard_of(whole)
            killed += len(moments)
            survived += len(moments) * same
            sweeps.append({"kills": moments, "same": same})
            said = "same" if same else "DIFFERENT"
            if not same:
                print(leaderboard_of(whole), leaderboard_of(sweep), sep="\n")
            print(f"sweep {len(sweeps):3}   killed {len(moments)} times   {said}   {moments}", flush=True)
    print(f"survived {survived} of {killed} kills")
    name = "sweep_kills" if module != FAKED else f"sweep_kills_{FAKED}"
    print(write_result(name, [{"kills": killed, "survived": survived, "seconds_of_a_sweep": seconds}, *sweeps]))
    sys.exit(survived != killed)


def _at(module: str, folder: Path) -> list[str]:
    typed = FAKED_SWEEP if module == FAKED else SWEEP
    return [*typed, f"hydra.sweep.dir={folder}", f"cache.dir={folder}-cache"]  # kills also hit the filling of the cache


def _killed_and_resumed(module: str, sweep: Path, draw: random.Random, seconds: float, kills: int) -> list[str]:
    """Kill and resume a sweep; return the state of its folder at each kill."""
    moments: list[str] = []
    command = ["-m", *_at(module, sweep)]
    while True:
        process = _start(module, *command)
        if len(moments) == kills:
            assert process.wait() == 1
            return moments
        try:
            assert process.wait(draw.uniform(0.05, 0.9) * seconds) == 1
            return moments  # it ended before the kill
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        moments.append(_stand(sweep))
        command = [f"sweep.resume={sweep}", "trust=true"] if (sweep / "sweep.json").is_file() else command


def _stand(sweep: Path) -> str:
    if not (sweep / "sweep.json").is_file():
        return "before the sweep began"
    statuses = [json.loads(path.read_text())["status"] for path in sorted(sweep.glob("*/run.json"))]
    within = "within a run" if "running" in statuses else "between two"
    return f"{within}, {statuses.count('finished')} finished"


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, "train", *arguments]
    found = {**os.environ, **(FOUND if module == FAKED else {})}
    return subprocess.Popen(command, env=found, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, *sys.argv[2:3])
