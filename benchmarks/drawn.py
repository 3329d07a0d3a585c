"""Random pictures in memory as a Frostline data set, and a phase trained on them epoch by epoch."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import ArraySamples
from frostline.data.reader import Found, Reader
from frostline.data.target_types.base import TargetType
from frostline.paths import conf_dir
from frostline.training.build import Built, build
from machine import TRAINER, done

CLASSES = 10


class Drawn(Reader):
    """number: of training pictures, balanced over the classes. side: in pixels."""

    name = "drawn"
    where = "a generator of random numbers"

    modality = PictureModality

    def __init__(self, *, number: int, side: int) -> None:
        self.number = number
        self.side = side

    def read(self, target: TargetType, known: Targets | None) -> Found:
        few = ArraySamples(*drawn(CLASSES, self.side))  # for validation and test: one small batch
        return Found([str(number) for number in range(CLASSES)], ArraySamples(*drawn(self.number, self.side)),
                          few, few)  # fmt: skip


def drawn(number: int, side: int) -> tuple[Tensor, Tensor]:
    """Draw pictures (N, 3, S, S) uint8 and classes (N,)."""
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(number) % CLASSES


def configured(folder: Path, number: int, side: int, *overrides: str) -> DictConfig:
    """Compose a training on drawn pictures as `frostline train` does, with run and cache in `folder`."""
    own = [f"logs_dir={folder / 'logs'}", f"run_dir={folder / 'logs' / 'run'}", f"cache.dir={folder / 'cache'}",
           "data.augment=none", f"data.image_size={side}", TRAINER, "callbacks.progress=null",
           "schedule.every_phase.min_steps=0"]  # fmt: skip
    drawing = ["data._target_=drawn.Drawn", f"+data.number={number}", f"+data.side={side}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=[*own, *drawing, "~data.dir", "data=cifar10", "~data.variant", *overrides])


class Clock(L.Callback):
    """Measures the seconds per step after the first `warm` steps, from the end of one to the end of the next."""

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.ends: list[float] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.ends = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        end_step(self.ends, self.warm, int(trainer.num_training_batches))

    @property
    def seconds_per_step(self) -> float:
        return seconds_per_step(self.ends, self.warm)


def end_step(ends: list[float], warm: int, steps: int) -> None:
    """Record the end of a step; wait for the GPU only at the two that `seconds_per_step` reads. steps: per epoch."""
    ends.append(done() if len(ends) + 1 in (warm, steps) else time.perf_counter())


def seconds_per_step(ends: list[float], warm: int) -> float:
    """Mean over the steps after the first `warm`. ends: time at the end of each step, in seconds."""
    return (ends[-1] - ends[warm - 1]) / (len(ends) - warm)


class Phase:
    """Trains the first phase of a plan with Frostline's own parts, one epoch per call. The phase needs at least as many
    epochs as there are calls."""

    def __init__(self, cfg: DictConfig, warm: int) -> None:
        self.built: Built = build(cfg)
        self.clock = Clock(warm)
        self.built.trainer.callbacks.append(self.clock)  # type: ignore[attr-defined]  # its constructor sets it indirectly
        self.built.enter(0, 0)

    def epoch(self) -> float:
        """Train an epoch; return the seconds per step."""
        trainer = self.built.trainer
        trainer.fit_loop.max_epochs = (trainer.fit_loop.max_epochs or 0) + 1
        trainer.fit(self.built.model, datamodule=self.built.data)
        return self.clock.seconds_per_step
