"""Time what lets a run be looked at (page, model card, predictions, intervals, calibration, TensorBoard's tabs).

python benchmarks/looking.py [rounds] [override ...]       (3 rounds of the default training on the bundled digits)

Two measurements:
1. The same training with all of it and without any (`report=false predictions=false logger=none`), whole processes in
   alternation. The difference is reported beside the spread between rounds.
2. Each part on the finished run, in this process, as a share of that run's seconds (median of five).

Aim: at most 2 % of the training together.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from frostline.commands.board import log_outcome
from frostline.commands.looks import looks_of
from frostline.commands.page import shown_of
from frostline.commands.train import quiet
from frostline.pages.card import write_card
from frostline.pages.page import write_page
from frostline.report.calibration_record import recorded_calibration
from frostline.report.score_intervals import recorded_intervals
from frostline.runs.folder import opened
from frostline.runs.predictions import read, write
from frostline.runs.record import Record
from frostline.training.build import build
from frostline.training.projector import log_projector, remove_features
from machine import TRAINER, write_result

WITHOUT = ["report=false", "predictions=false", "logger=none"]
CURVES = {"_target_": "frostline.training.callbacks.curves.Curves", "name": "", "version": "again"}
TIMES = 5


def main(rounds: int, overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as made:
        found: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
        for turn in range(rounds):
            for kind in ("with", "without"):
                folder = Path(made) / f"{kind}-{turn}"
                found[kind].append(trained([*overrides, *(WITHOUT if kind == "without" else [])], folder))
                print(f"{kind:8} {found[kind][-1][0]:.2f} s, {found[kind][-1][1]:.2f} CPU s", flush=True)
        rows = [{"overrides": overrides, "seconds": found}, *parts_of(Path(made) / "with-0")]
    for place, unit in enumerate(("s", "CPU s")):
        first, second = (statistics.median(own[place] for own in found[kind]) for kind in ("with", "without"))
        print(f"with - without: {first - second:+.2f} {unit} ({(first - second) / second:+.1%})")
    print(write_result("looking", rows))


def trained(overrides: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of a training's process, and CPU seconds, which another process on a busy machine hardly changes."""
    begun, used = time.perf_counter(), cpu_of_children()
    command = [sys.executable, "-m", "frostline", "train", TRAINER, *overrides, f"run_dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun, cpu_of_children() - used


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parts_of(folder: Path) -> list[dict[str, Any]]:
    """A row per part: its seconds, and their share of the run's."""
    quiet()
    record, settings = opened(folder, trains=False, trust=False, again="")
    OmegaConf.update(settings, "logger", CURVES | {"save_dir": str(folder)}, force_add=True)
    built = build(settings, load_weights=True)
    built.data.trainer = built.trainer
    built.enter(0, 0)  # the phase that cached the features
    total, val, test = record.seconds["total"], read(folder, "val"), read(folder, "test")

    look = looks_of(built, None)

    def predictions() -> None:
        for split, own in (("val", val), ("test", test)):
            texts = {name: own.columns[name].tolist() for name in ("sample", "phase")}
            write(folder, split, own.columns | texts, own.about)  # type: ignore[arg-type]

    parts: dict[str, Callable[[], object]] = {
        "predictions": predictions,
        "intervals": lambda: recorded_intervals(folder, record.metrics),
        "calibration": lambda: recorded_calibration(folder),
        "page": lambda: write_page(folder, Record.read(folder), shown_of(built.data), "", private=False, look=look),
        "card": lambda: write_card(folder, record, private=False),
    }
    logger = built.trainer.logger
    assert isinstance(logger, TensorBoardLogger)

    def features() -> None:
        remove_features(Path(logger.log_dir))  # a folder that has them is left as it is
        log_projector(built, pictures=True)

    parts |= {
        "tensorboard: samples, matrix, curves": lambda: log_outcome(built, settings, record, folder),
        "tensorboard: features": features,
    }
    rows = [{"part": name, "seconds": seconds_of(part)} for name, part in parts.items()]
    rows.append({"part": "together", "seconds": sum(row["seconds"] for row in rows)})  # type: ignore[misc]
    for row in rows:
        row["share"] = row["seconds"] / total  # type: ignore[operator]
        print(f"{row['part']:40} {row['seconds']:.3f} s   {row['share']:.2%} of {total:.0f} s")
    return rows


def seconds_of(part: Callable[[], object]) -> float:
    found = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        part()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    rounds = int(arguments.pop(0)) if arguments and arguments[0].isdecimal() else 3
    main(rounds, arguments)
