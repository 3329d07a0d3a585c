"""Shared by the benchmarks of frozen blocks: a job's pictures and weights, Frostline as a process, rounds.

Pictures are the first rows of CIFAR-10's Parquet files, which are ordered so that these rows are class-balanced. As
published weights are not available offline, torchvision's networks get seeded random ones, from one file for all ways.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision import transforms as T

from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.torchvision import TorchvisionBackbone

BATCH, LR = 64, 1e-3
SEED = 1  # seed 0 draws the head with which the bundled backbone was trained on CIFAR-10, which fits from the start
CALIBRATED_ON = 64  # pictures
Outcome = TypeVar("Outcome")


class Job(NamedTuple):
    """folder: holds train.parquet, a tenth of it for validation, and test.parquet. weights: a file, or `bundled`."""

    model: str
    weights: str
    folder: Path
    epochs: int

    @property
    def overrides(self) -> list[str]:
        """The settings that all ways share: AdamW, a cosine from LR to 0, no weight decay, no augmentation."""
        return [
            f"model={self.model}", f"model.weights={self.weights}", "data=cifar10", f"data.dir={self.folder}",
            f"data.batch_size={BATCH}", "data.augment=none", "optimizer=adamw", f"optimizer.lr={LR}",
            "optimizer.weight_decay=0", "trainer=cpu", "schedule.every_phase.warmup_epochs=0", f"seed={SEED}",
        ]  # fmt: skip

    def backbone(self) -> Backbone:
        if self.model == "bundled":
            return BundledBackbone(weights=self.weights)
        return TorchvisionBackbone(self.model, weights=self.weights)


class Run(NamedTuple):
    """record: content of run.json. seconds: of the whole process, imports included."""

    folder: Path
    record: dict[str, Any]
    seconds: float


class Wanted(argparse.Namespace):
    pictures: int
    data: Path
    model: str
    epochs: int
    rounds: int
    held_out: int | None

    @property
    def said(self) -> dict[str, Any]:
        """The arguments without the data folder, whose path differs between machines."""
        return {key: value for key, value in vars(self).items() if key != "data"}


def arguments(told: str, *, pictures: int, epochs: int) -> Wanted:
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=int, nargs="?", default=pictures, help="rows of train.parquet, by tens")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with CIFAR-10's train.parquet and test.parquet"
    )
    parser.add_argument("--model", default="resnet50", help="one of conf/model; bundled is for 32 pixels")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--held-out", type=int, help="rows of test.parquet, by tens; as many as pictures")
    return parser.parse_args(namespace=Wanted())


@contextlib.contextmanager
def job_of(wanted: Wanted) -> Iterator[Job]:
    """Write the job's pictures and weights to a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, rows in (("train", wanted.pictures), ("test", wanted.held_out or wanted.pictures)):
            pq.write_table(pq.read_table(wanted.data / f"{name}.parquet")[:rows], Path(scratch) / f"{name}.parquet")
        weights = "bundled" if wanted.model == "bundled" else str(Path(scratch) / "weights.pth")
        if weights != "bundled":
            torch.save(seeded_weights(wanted.model, Path(scratch) / "train.parquet"), weights)
        yield Job(wanted.model, weights, Path(scratch), wanted.epochs)


def seeded_weights(model: str, file: Path) -> dict[str, torch.Tensor]:
    """Random weights with BatchNorm statistics taken from some pictures: with the initial statistics, activations would
    double from block to block."""
    torch.manual_seed(SEED)
    network = models.get_model(model, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # adopt the statistics of the one batch
    view = models.get_model_weights(model)["DEFAULT"].transforms()
    rows = pq.read_table(file)[:CALIBRATED_ON].column("image").to_pylist()
    pictures = [T.functional.pil_to_tensor(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]
    with torch.no_grad():
        network(torch.stack([view(picture) for picture in pictures]))
    state: dict[str, torch.Tensor] = network.state_dict()
    return state


def alternating(ways: Mapping[str, Callable[[], Outcome]], rounds: int) -> dict[str, list[Outcome]]:
    """Run every way once per round, in their order."""
    found: dict[str, list[Outcome]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            found[name].append(way())
            print(f"  round {number + 1}   {name}: {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
    return found


@contextlib.contextmanager
def frostline_run(*overrides: str) -> Iterator[Run]:
    """Run `frostline train` with an empty cache; the run folder exists until the end of the block."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        seconds = timed_train(Path(scratch), *overrides, f"run_dir={folder}")
        yield Run(folder, json.loads((folder / "run.json").read_text()), seconds)


def timed_train(scratch: Path, *typed: str) -> float:
    """Return the seconds of the whole process; its cache lies under `scratch`."""
    environment = os.environ | {"FROSTLINE_CACHE_DIR": str(scratch / "cache")}
    command = [sys.executable, "-m", "frostline", "train", *typed]
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=scratch, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun
