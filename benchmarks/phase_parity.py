"""Freeze, thaw and resume the same small job with three tools on two ranks.

python benchmarks/phase_parity.py                  (needs finetuning-scheduler, a peer and no dependency:
                                                    pip install finetuning-scheduler)

The job: a small network on random data, two gloo ranks, SGD; two epochs of the head alone, two of everything; then a
second process resumes from the checkpoint of the last epoch, which lies after the thaw, and trains two more epochs.
Reported: the largest difference between the two ranks' weights, and how far the backbone moved (largest change of a
weight) after the thaw, and after the resume. A tool passes if the difference is 0 and both moves are not.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

TOOLS = ("BackboneFinetuning", "finetuning-scheduler", "Frostline")
FROZEN, THAWED, MORE = 2, 2, 2  # epochs
SAMPLES, BATCH = 256, 16


class Job(L.LightningModule):
    """The plain module that the two callbacks control."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(16, 3)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        return nn.functional.cross_entropy(self.head(self.backbone(inputs)), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.05, momentum=0.9)


class Look(L.Callback):
    """Measures the difference between the ranks, and how far the backbone moved during the last `fit`."""

    def __init__(self) -> None:
        self.difference: float | None = None  # None until training has ended
        self.moved = {"backbone": 0.0}

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.before = weights(pl_module.backbone)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.difference = rank_difference(pl_module)
        self.moved = {"backbone": float((weights(pl_module.backbone) - self.before).abs().max())}


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def rank_difference(module: nn.Module) -> float:
    parts = [p for name, p in module.named_parameters() if name.startswith(("backbone", "head"))]
    own = torch.cat([p.detach().flatten() for p in parts])
    every = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(every, own)
    return float((every[0] - every[1]).abs().max())


def data() -> TensorDataset:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, 8, generator=draw)
    return TensorDataset(inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long())


# --- one rank of one tool ---


def with_callback(tool: str, folder: Path, epochs: int, checkpoint: Path | None) -> Look:
    look = Look()
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true" if tool != TOOLS[0] else "ddp",
        max_epochs=epochs, callbacks=[_callback(tool), look, _keeper(tool, folder)], logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Job(), DataLoader(data(), BATCH // 2, shuffle=True), ckpt_path=checkpoint, weights_only=False)
    return look


def _keeper(tool: str, folder: Path) -> L.Callback:
    """The checkpoint callback that the tool's documentation asks for."""
    settings: dict[str, Any] = {"filename": "last", "save_on_train_epoch_end": True, "enable_version_counter": False}
    if tool == TOOLS[0]:
        return L.pytorch.callbacks.ModelCheckpoint(folder, **settings)
    from finetuning_scheduler import FTSCheckpoint

    return FTSCheckpoint(folder, **settings)


def _callback(tool: str) -> L.Callback:
    if tool == "BackboneFinetuning":
        return BackboneFinetuning(unfreeze_backbone_at_epoch=FROZEN, initial_denom_lr=1.0, train_bn=False)
    from finetuning_scheduler import FinetuningScheduler

    head, backbone = ["head.weight", "head.bias"], [f"backbone.{name}" for name, _ in Job().backbone.named_parameters()]
    schedule = {
        0: {"params": head, "max_transition_epoch": FROZEN - 1},
        1: {"params": backbone, "max_transition_epoch": 99},
    }
    return FinetuningScheduler(ft_schedule=schedule, epoch_transitions_only=True, restore_best=False)


def with_frostline(folder: Path, epochs: int, checkpoint: Path | None) -> Look:
    """Train with the parts of `frostline train`, on two plain tensors instead of pictures."""
    from frostline_job import run

    return run(folder, epochs, checkpoint, Look())


# --- all tools ---


def main() -> None:
    from machine import write_result

    rows = []
    for tool in TOOLS:
        with tempfile.TemporaryDirectory() as scratch:
            row = {"tool": tool}
            for part, epochs in (("first", FROZEN + THAWED), ("resumed", FROZEN + THAWED + MORE)):
                row |= {f"{part}_{key}": value for key, value in _launched(tool, Path(scratch), epochs, part).items()}
        rows.append(row)
        print(row, flush=True)
    print(write_result("phase_parity", rows))


def _launched(tool: str, folder: Path, epochs: int, part: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    typed = [*command, tool, str(folder), str(epochs), part]
    answer = subprocess.run(typed, check=False, capture_output=True, text=True, env=environment)
    said = [line for line in answer.stdout.splitlines() if line.startswith("RESULT ")]
    if not said:
        problem = [line for line in answer.stderr.splitlines() if "Error" in line]
        return {"error": problem[-1] if problem else answer.stderr[-300:]}
    _, difference, moved = said[0].split()
    if difference == "None":
        return {"error": "fit returned at once: nothing was trained"}
    return {"rank_difference": float(difference), "backbone_moved": float(moved)}


def rank(tool: str, folder: Path, epochs: int, part: str) -> None:
    checkpoint = folder / "last.ckpt" if part == "resumed" else None
    look = with_frostline(folder, epochs, checkpoint) if tool == "Frostline" else with_callback(
        tool, folder, epochs, checkpoint
    )  # fmt: skip
    if torch.distributed.get_rank() == 0:
        print("RESULT", look.difference, look.moved["backbone"], flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        rank(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main()
