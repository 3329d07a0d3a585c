"""Time `--help`, `--cfg job` and config errors next to the import of Hydra alone, and the imports of a training.

python benchmarks/door.py [rounds]

Each round runs every command once, in sequence; medians of rounds, as ratios to `import hydra`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import write_result

TRAIN = [sys.executable, str(Path(__file__).resolve().parents[1] / "train.py")]
COMMANDS = {
    "import hydra": [sys.executable, "-c", "import hydra"],
    "--help": [*TRAIN, "--help"],
    "--cfg job": [*TRAIN, "--cfg", "job"],
    "model=resnet5": [*TRAIN, "model=resnet5"],
    "data.batchsize=1": [*TRAIN, "data.batchsize=1"],
    "data.batch_size=x": [*TRAIN, "data.batch_size=x"],
    "import torch, lightning": [sys.executable, "-c", "import torch, lightning"],
    "import frostline.commands.train": [sys.executable, "-c", "import frostline.commands.train"],
}


def main(rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds + 1):
            for name, command in COMMANDS.items():
                begun = time.perf_counter()
                subprocess.run(command, check=False, cwd=folder, capture_output=True, env=environment)
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first round warms up
    rows = [
        {"command": name, "seconds": median, "ratio": median / medians["import hydra"]}
        for name, median in medians.items()
    ]
    for row in rows:
        print(f"{row['command']:24} {row['seconds']:7.3f} s   {row['ratio']:5.2f} × import hydra")
    print(write_result("door", rows))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
