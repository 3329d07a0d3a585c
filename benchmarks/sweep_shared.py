"""Share the README's sweep between two process groups, kill one (SIGKILL), and compare the leaderboard with that of an
undisturbed sweep.

python benchmarks/sweep_shared.py <folder of pictures>

Each group stands for a machine, on one thread. The second joins as soon as the first has begun; the first is killed
within its second run. The leaderboards are the same if their rows are, the seconds apart.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import write_result
from sweeps import leaderboard_of

JOB = ["model=efficientnet_lite0,efficientnet_lite1", "optimizer.lr=1e-3,1e-4", "sweep.seeds=3", "data=image_folder"]
JOB += ["head=mlp", "schedule=head_only", "trainer=cpu"]
RUN = re.compile(r"^\[(\d+)\]", re.MULTILINE)


def main(folder: str) -> None:
    job = [*JOB, f"data.dir={Path(folder).absolute()}"]
    with tempfile.TemporaryDirectory() as scratch:
        alone, shared = Path(scratch) / "alone", Path(scratch) / "shared"
        began = time.perf_counter()
        assert _started(alone, *_begin(alone, job)).wait() == 0
        seconds = {"alone": time.perf_counter() - began}
        began = time.perf_counter()
        first = _started(Path(scratch) / "first", *_begin(shared, job))
        _wait_for((shared / "multirun.yaml").is_file, first)
        second = _started(Path(scratch) / "second", f"sweep.join={shared}", "trust=true")
        _wait_for(lambda: len(_runs(Path(scratch) / "first")) == 2, first)
        time.sleep(random.Random(0).uniform(0.5, 2))
        os.killpg(first.pid, signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        assert second.wait() == 0, _log(Path(scratch) / "second").read_text()
        seconds["shared"] = time.perf_counter() - began
        lost, taken = (_runs(Path(scratch) / name) for name in ("first", "second"))
        row: dict[str, Any] = {"same": leaderboard_of(alone) == leaderboard_of(shared), "seconds": seconds}
        rows = [{name: it for name, it in own.items() if name != "command"} for own in leaderboard_of(shared)]
        row |= {"runs_of_the_killed": lost, "runs_of_the_other": taken, "leaderboard": rows}
    print(row, write_result("sweep_shared", row), sep="\n")
    sys.exit(not row["same"])


def _begin(sweep: Path, job: list[str]) -> list[str]:
    return ["-m", *job, f"hydra.sweep.dir={sweep}", f"cache.dir={sweep}-cache"]


def _started(name: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "frostline", "train", *arguments]
    with _log(name).open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def _log(name: Path) -> Path:
    return name.with_suffix(".log")


def _runs(name: Path) -> list[str]:
    """The runs that a group has begun."""
    return RUN.findall(_log(name).read_text())


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None, "it ended too early"
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
