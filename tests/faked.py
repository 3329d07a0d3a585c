"""Sweeps whose runs train nothing: `python -m faked train -m ...` is `python -m frostline train -m ...`, but an epoch
takes some milliseconds, its checkpoint is a number, and the score follows from the settings. All else is real:
processes, folders, locks, resume, the study, the leaderboard. Imports no torch.
"""

import math
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

from omegaconf import DictConfig

import hydra_cached
from frostline.cli.main import main
from frostline.config.plain import yaml_of
from frostline.errors import Pruned, WeightsError
from frostline.paths import conf_dir, write_atomically
from frostline.runs.folder import checkpoint_of, lasting
from frostline.runs.folders import CONFIG, claimed
from frostline.runs.record import Record
from frostline.sweeps import workers

EPOCHS = 3
SECONDS = float(os.environ.get("FAKED_SECONDS", "0.02"))  # of an epoch
SMALL = ["logger=none", "report=false", "sweep.test=none", "trainer=cpu"]


class Watched(NamedTuple):
    judge: Any


def trained(
    cfg: DictConfig, folder: Path, *, command: str, resume: bool, seen: Any, watched: Watched | None = None
) -> None:
    """In place of frostline.commands.train.train."""
    if cfg.model.weights == "none.pth":
        raise WeightsError("there is no such weights file", where="none.pth", next_step="model.weights=<a file>")
    record = Record.read(folder) if resume else Record(command, cfg.seed, monitor="val/accuracy", versions={})
    record.status, record.error, last = "running", None, checkpoint_of(folder, "last")
    with claimed(folder, leads=True, seen=seen):
        record.write(folder)
        if last is None:
            write_atomically(folder / CONFIG, yaml_of(lasting(cfg)))
            (folder / "checkpoints").mkdir(exist_ok=True)
        try:
            _epochs(cfg, folder, record, 0 if last is None else int(last.read_text()), watched)
        except Pruned as pruned:
            record.status, record.error = "pruned", {"type": "Pruned", "message": str(pruned)}
            raise
        except SystemExit as stopped:
            record.status, record.error = "interrupted", {"type": "SIGTERM", "message": "stopped by a signal"}
            raise SystemExit(stopped.code) from None
        finally:
            record.write(folder)


def _epochs(cfg: DictConfig, folder: Path, record: Record, done: int, watched: Watched | None) -> None:
    for epoch in range(done, EPOCHS):
        time.sleep(SECONDS)
        score = score_of(cfg.optimizer.lr, cfg.seed) * (epoch + 1) / EPOCHS
        write_atomically(folder / "checkpoints" / "last.ckpt", str(epoch + 1))
        if watched is not None and (why := watched.judge.judge(epoch + 1, score, SECONDS * (epoch + 1))) is not None:
            raise Pruned(why)
    record.status, record.metrics = "finished", {"val/accuracy": score_of(cfg.optimizer.lr, cfg.seed)}
    record.checkpoints["last"] = "checkpoints/last.ckpt"


def score_of(rate: float, seed: int) -> float:
    """Best at a rate of 0.01."""
    return 0.9 - 0.1 * abs(math.log10(rate) + 2) + 0.01 * (seed % 3)


def phase_row(**said: Any) -> dict[str, Any]:
    """A row of `Record.phases`."""
    own = {"name": "head", "thaw": "none", "learns": ["head"], "learning_rates": {"head": 0.1}, "epochs": 3}
    return own | {"trainable_parameters": 10, "seconds": 1.5, "samples_per_second": 20.0, "val": {}} | said


def module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


STAND_INS = {
    "frostline.commands.train": module("train", train=trained),
    "frostline.training.callbacks.pruning": module("pruning", Watched=Watched),
}
# The environment for `forked.started`, in which `-m faked` is found.
FOUND = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(conf_dir().parent / "src")])}


if __name__ == "__main__":
    with patch.dict(sys.modules, STAND_INS), patch.object(workers, "PROGRAM", "faked"), hydra_cached.cached():
        main()
