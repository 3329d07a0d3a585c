"""Time from the start of the process to the end of the first optimizer step, by stage.

python benchmarks/time_to_first_step.py [rounds] [override ...]

`python train.py` with its defaults (handwritten digits, the bundled network), or with the given overrides, next to a
process that only imports torch and lightning. Both times end inside the process, so that the exit of the interpreter is
left out. Each round starts every way once, in sequence; medians. The first round, which reads files from disk, is left
out.

`first run` finds no cached outputs of frozen blocks and computes them before its first step; `later run` finds them.
Aim: at most 1.3 times the imports.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAGES = ("imports", "config", "data", "model", "plan table", "frozen outputs", "first step")
IMPORTS = "imports alone"
WAYS = (IMPORTS, "first run", "later run")


class Stages:
    """Seconds by stage. A stage's time excludes the time of stages nested in it."""

    def __init__(self, begun: float) -> None:
        """begun: start of the process, in seconds since the epoch."""
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._open = ["imports"]
        self._since = begun

    def turn(self) -> None:
        now = time.time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def of(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function so that its time counts for `stage`."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self.turn()
            self._open.append(stage)
            try:
                return function(*arguments, **options)
            finally:
                self.turn()
                self._open.pop()

        return counted

    def wrap(self, stage: str, owner: Any, name: str) -> None:
        setattr(owner, name, self.of(stage, getattr(owner, name)))


def train(begun: float, overrides: list[str]) -> None:
    """Run `frostline train` up to the end of the first step, in a separate process."""
    stages = Stages(begun)
    from frostline.cli import training as commands
    from frostline.cli.importing import uncollected
    from frostline.cli.main import main as door

    launch_alike = commands.launch_alike

    def heavy(*arguments: Any) -> None:
        launch_alike(*arguments)
        with uncollected():
            stages.of("imports", watch)(stages)  # the command is checked; the modules that train are imported now

    commands.launch_alike = heavy  # type: ignore[assignment]
    sys.argv[1:] = overrides
    stages.of("config", door)("train")


def watch(stages: Stages) -> None:
    from frostline.commands import train as run
    from frostline.data.module import Data
    from frostline.frozen.outputs import FrozenOutputs
    from frostline.training import build
    from frostline.training.callbacks.measure import Measure

    def told(*_: Any) -> None:
        stages.turn()
        print(json.dumps(stages.seconds), flush=True)
        os._exit(0)

    stages.wrap("data", build, "_data")
    stages.wrap("data", Data, "describe")
    stages.wrap("model", run, "build")
    stages.wrap("plan table", run, "planned")
    stages.wrap("frozen outputs", FrozenOutputs, "__call__")
    stages.wrap("first step", run, "fit")
    Measure.on_train_batch_end = told  # type: ignore[method-assign, assignment]  # ends the process


def imports(begun: float) -> None:
    import lightning
    import torch

    print(json.dumps({"imports": time.time() - begun, "of": [torch.__version__, lightning.__version__]}), flush=True)
    os._exit(0)


def main(rounds: int, overrides: list[str]) -> None:
    from machine import write_result

    seconds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                seconds[way].append(_started(way, Path(folder), overrides))
    rows: list[dict[str, Any]] = []
    for way, tried in seconds.items():
        names = [name for name in STAGES if name in tried[0]]
        split = {name: statistics.median(one[name] for one in tried[1:]) for name in names}
        whole = statistics.median(sum(one[name] for name in names) for one in tried[1:])
        rows.append({"way": way, "seconds": whole, "split": split})
    for row in rows:
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
        shown = "   ".join(f"{name} {value:.2f}" for name, value in row["split"].items())
        print(f"{row['way']:14} {row['seconds']:6.2f} s   {row['ratio']:5.2f} × the imports   {shown}")
    print(write_result("time_to_first_step", {"overrides": overrides, "ways": rows}))


def _started(way: str, folder: Path, overrides: list[str]) -> dict[str, float]:
    own = [f"logs_dir={folder / 'logs'}", f"cache.dir={folder / 'cache'}"]
    command = [sys.executable, __file__, "--of", way, str(time.time()), *own, *overrides]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    said: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return said


if __name__ == "__main__":
    if sys.argv[1:2] == ["--of"]:
        way, begun, *overrides = sys.argv[2:]
        imports(float(begun)) if way == IMPORTS else train(float(begun), overrides)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:])
