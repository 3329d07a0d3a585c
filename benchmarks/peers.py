"""Run one job with plain loops, Lightning's BackboneFinetuning, the frozen part of fastai's `fine_tune`, and Frostline.

The peers train on Pillow pictures in memory, transformed one by one in each epoch by torchvision, with one DataLoader
worker per core. Their seconds cover the epochs only: no imports, no reading and decoding of files, no validation.

The two tools run with their defaults: both keep training the BatchNorm layers of what they freeze, statistics included,
and therefore differentiate through the whole network.

Frostline's seconds are those of the plan's one phase in run.json. They include filling the cache, which starts empty,
and after each epoch a validation and two checkpoints, which the peers do not do. `process` is the whole `python -m
frostline train`, with imports, decoding and the test.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms as T

from data_path import InMemory
from frostline.backbones.base import Backbone
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.cifar import read_parquet
from frostline.data.sample_cache import NOWHERE
from frostline.data.sampling import stratified_split
from jobs import BATCH, LR, SEED, Job, alternating, frostline_run

CLASSES = 10
VALIDATION = 0.1  # split off as in conf/data; the peers do not use it


class Trained(NamedTuple):
    """accuracy: of the last epoch's weights on the test split, by the same function for all ways, in float32."""

    seconds: float
    accuracy: float
    details: dict[str, Any] | None = None


class Data(NamedTuple):
    train: Dataset[tuple[Tensor, int]]
    held_out: Dataset[tuple[Tensor, int]]


class Network(nn.Module):
    """pictures (B, 3, S, S) → logits (B, C). The backbone runs torchvision's own modules in sequence."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.backbone = backbone
        self.head = nn.Linear(backbone.features.width, CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(pictures))
        return logits


def data_of(job: Job) -> Data:
    """The training and test pictures, the same as Frostline's."""
    spec = job.backbone().spec
    assert isinstance(spec, ImageSpec)
    resize = T.Resize(spec.resize, T.InterpolationMode(spec.interpolation))
    view = T.Compose([resize, T.CenterCrop(spec.size), T.ToTensor(), T.Normalize(spec.mean, spec.std)])
    found = (read_parquet(job.folder / f"{name}.parquet") for name in ("train", "test"))
    train, test = (pictures.source(spec, None, NOWHERE, "cifar10") for pictures in found)
    trained_on, _ = stratified_split(train.labels, VALIDATION, 0)
    return Data(Subset(InMemory(train, view), trained_on.tolist()), InMemory(test, view))


def loader(data: Dataset[tuple[Tensor, int]], *, shuffle: bool) -> DataLoader[tuple[Tensor, int]]:
    workers = len(os.sched_getaffinity(0))
    return DataLoader(data, BATCH, shuffle=shuffle, num_workers=workers, persistent_workers=True)


def accuracy(network: Network, data: Data) -> float:
    network.eval()
    with torch.inference_mode():
        right = [network(pictures).argmax(1) == labels for pictures, labels in loader(data.held_out, shuffle=False)]
    return float(torch.cat(right).double().mean())


def plain_loop(job: Job, data: Data, *, low: bool = False, thaw_last: bool = False) -> Trained:
    """low: bf16 autocast and channels last. thaw_last: the last block learns too; no norm layer updates statistics."""
    network = Network(job.backbone())
    network.backbone.eval().requires_grad_(False)
    if thaw_last:
        list(network.backbone.blocks.values())[-1].requires_grad_(True)
    layout = torch.channels_last if low else torch.contiguous_format
    network.to(memory_format=layout)
    batches = loader(data.train, shuffle=True)
    optimizer = AdamW([p for p in network.parameters() if p.requires_grad], LR, weight_decay=0.0)
    curve = CosineAnnealingLR(optimizer, job.epochs * len(batches))
    begun = time.perf_counter()
    for _ in range(job.epochs):
        for pictures, labels in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = nn.functional.cross_entropy(network(pictures.to(memory_format=layout)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.step()
    return Trained(time.perf_counter() - begun, accuracy(network, data))


class Probe(L.LightningModule):
    def __init__(self, network: Network, steps: int) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head
        self.steps = steps

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        pictures, labels = batch
        return nn.functional.cross_entropy(self.head(self.backbone(pictures)), labels)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = AdamW([p for p in self.parameters() if p.requires_grad], LR, weight_decay=0.0)
        curve: LRSchedulerConfigType = {"scheduler": CosineAnnealingLR(optimizer, self.steps), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": curve}


class Clock(L.Callback):
    """Times the epochs alone: the first `fit` of a process imports many modules."""

    seconds = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = -time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds += time.perf_counter()


def backbone_finetuning(job: Job, data: Data) -> Trained:
    """Train up to the epoch in which it would thaw."""
    network, batches, clock = Network(job.backbone()), loader(data.train, shuffle=True), Clock()
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=job.epochs, callbacks=[BackboneFinetuning(job.epochs), clock],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Probe(network, job.epochs * len(batches)), batches)
    return Trained(clock.seconds, accuracy(network, data))


def fastai_frozen(job: Job, data: Data) -> Trained:
    """Do what `fine_tune` does before it thaws: `freeze`, and one cycle whose rate rises for 99 % of the steps.

    Raises ImportError if fastai is not installed."""
    from fastai.callback.core import Callback, CancelValidException
    from fastai.callback.schedule import Learner  # with `fit_one_cycle`
    from fastai.data.core import DataLoaders

    class Unvalidated(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    network, batches = Network(job.backbone()), loader(data.train, shuffle=True)
    parts = [list(network.backbone.parameters()), list(network.head.parameters())]
    learner = Learner(DataLoaders(batches, loader(data.held_out, shuffle=False)), network, nn.CrossEntropyLoss(),
                      splitter=lambda _: parts, cbs=Unvalidated(), wd=0.0)  # fmt: skip
    learner.freeze()
    begun = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(job.epochs, slice(LR), pct_start=0.99)
    return Trained(time.perf_counter() - begun, accuracy(network, data))


def frostline_phase(job: Job, data: Data, *plan: str) -> Trained:
    """plan: overrides that leave the plan with one phase."""
    with frostline_run(*job.overrides, *plan) as run:
        (phase,) = run.record["phases"]
        state = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    network = Network(job.backbone())
    for part, prefix in ((network.backbone, "backbone."), (network.head, "head.layers.1.")):
        part.load_state_dict(
            {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        )
    record = {name: run.record[name] for name in ("command", "seconds", "metrics", "phases")}
    return Trained(phase["seconds"], accuracy(network, data), {"process": run.seconds, "run.json": record})


def compared(ways: Mapping[str, Callable[[], Trained]], rounds: int) -> list[dict[str, Any]]:
    """Return a row per way, medians of rounds; `times`: the speed relative to the first way."""
    found = alternating(ways, rounds)
    rows: list[dict[str, Any]] = []
    for way, each in found.items():
        seconds, accuracy = (statistics.median(values) for values in list(zip(*each, strict=True))[:2])
        times = rows[0]["seconds"] / seconds if rows else 1.0
        rows.append({"way": way, "seconds": seconds, "times": times, "accuracy": accuracy, "rounds": each})
        print(f"{way:34} {seconds:8.2f} s   {times:6.2f} × as fast   accuracy {accuracy:.4f}")
        if each[0].details is not None:
            process = statistics.median(one.details["process"] for one in each if one.details is not None)
            rows[-1]["process"] = process
            print(f"{'':34} {process:8.2f} s   for the whole process")
    return rows


def missing_fastai() -> str | None:
    """Why fastai cannot be imported; None if it can."""
    try:
        import fastai.callback.schedule  # noqa: F401
    except ImportError as error:
        return str(error)
    return None
