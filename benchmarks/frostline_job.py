"""Run the job of phase_parity.py on Frostline's parts, with its network as two blocks and its data as batches."""

import contextlib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from frostline.backbones.base import Backbone
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.data.loader import EpochBatches
from frostline.data.split import Transfers
from frostline.frozen.outputs import FrozenOutputs
from frostline.frozen.policy import Choice
from frostline.plan.phase import Phase, Until
from frostline.plan.phases import NO_AVERAGE, Plan
from frostline.runs.record import Record, Stopwatch
from frostline.storage.store import Store
from frostline.tasks.classification import Classification
from frostline.training.build import Built
from frostline.training.callbacks.checkpoint_files import LateFiles
from frostline.training.callbacks.checkpoints import PlacedCheckpoint
from frostline.training.callbacks.measure import Measure
from frostline.training.checkpoint import read_saved, stand_of
from frostline.training.finetuner import FineTuner
from frostline.training.fit import fit
from frostline.training.solving import HeadSolver
from phase_parity import BATCH, FROZEN, MORE, THAWED, Job, data


class Vectors(Transfers, Dataset[Batch]):
    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.targets = data().tensors

    def resume_at(self, epoch: int, batches: int) -> None: ...

    def show(self, views: int | None, first_epoch: int) -> None: ...

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        batches = EpochBatches(
            len(self), BATCH, shuffle=True, seed=0, rank=self.trainer.global_rank, world_size=self.trainer.world_size
        )
        return DataLoader(self, batch_sampler=batches, collate_fn=lambda batch: batch)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, places: list[int]) -> Batch:
        index = torch.tensor(places)
        return Batch(self.inputs[index], self.targets[index], index)


class CutOff(SystemExit): ...


class Cut(L.Callback):
    """Ends the first process early: both use the same plan, as Frostline refuses to resume with another length."""

    def __init__(self, epochs: int, look: Any) -> None:
        self.epochs = epochs
        self.look = look

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epochs:
            self.look.on_train_end(trainer, pl_module)
            raise CutOff


def run(folder: Path, epochs: int, checkpoint: Path | None, look: Any) -> Any:
    job = Job()
    blocks = {"lower": job.backbone[:3], "upper": job.backbone[3:]}
    spec = ImageSpec(size=1, resize=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    backbone = Backbone(name="toy", blocks=blocks, pool=nn.Identity(), width=16, spec=spec, loaded="random")
    targets = Targets("class", ["a", "b", "c"], [1, 1, 1], {})
    task = Classification(targets, label_smoothing=0.0, class_weights="none", l1=0.0,
                          monitor="val/loss", mode="min")  # fmt: skip
    until = Until("val/loss", "min", None, 0.0)
    phase = partial(Phase, only=None, lr_scale=1.0, layer_decay=1.0, warmup_epochs=0.0, curve="constant",
                    weight_decay=None, optimizer=None, norm="adapt", l2_sp=0.0, until=until,
                    start_from="last", solve=False, min_steps=0, views="fresh")  # fmt: skip
    everything = phase(name="all", thaw="all", epochs=THAWED + MORE)
    plan = Plan((phase(name="head", thaw="none", epochs=FROZEN), everything), NO_AVERAGE)
    sgd: Any = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    identity = {"targets": asdict(targets), "network": {}, "steps": {}}  # what a resume compares
    model = FineTuner(backbone, job.head, task, {"head": sgd, "all": sgd}, seed=0, identity=identity)
    measure = Measure()
    keep = PlacedCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=0, logger=False, plugins=[LateFiles()],
        callbacks=[keep, look, measure, Cut(epochs, look)], enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=folder, limit_val_batches=0,
    )  # fmt: skip
    vectors: Any = Vectors()
    choices = [Choice(phase.frost_line(list(blocks)), False, None, (1, 1), 0, "vectors") for phase in plan.phases]
    frozen = FrozenOutputs(model.frozen_pass, vectors, Store(folder, 0), [], compiled=False)
    built = Built(model, vectors, trainer, measure, plan, choices, frozen, HeadSolver(frozen, len(plan.phases) - 1))
    with contextlib.suppress(CutOff):
        stand = stand_of(read_saved(checkpoint), checkpoint, model, plan) if checkpoint is not None else None
        record = Record(command="", seed=0, baselines={"why_not": "vectors"})  # baselines need the splits of a data set
        fit(built, record, folder, stand, Stopwatch({}), pictures=False)
    return look
