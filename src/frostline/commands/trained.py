"""Rebuild a run's network with its weights, for predict and export."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from frostline.adapters.layers import merged
from frostline.config.instantiate import maker_settings
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.data.composed import modality_of
from frostline.data.predicting import Opened, Predicting
from frostline.data.reader import Reader
from frostline.data.split import Transfers
from frostline.data.target_types.find import target_type
from frostline.errors import RunError
from frostline.frozen.blocks import FrozenPass
from frostline.plan.composed import plan_of
from frostline.quoting import instead_of
from frostline.runs.folder import require_checkpoint
from frostline.runs.record import Record
from frostline.tasks.base import Task
from frostline.training.build import single_trainer, untrained
from frostline.training.checkpoint import (
    load_state,
    phase_number,
    read_checkpoint,
    require_finite_weights,
    require_unchanged,
)
from frostline.training.finetuner import CHECKPOINT_KEY, FineTuner
from frostline.training.frozen_setup import low_of


class Trained(NamedTuple):
    """targets: the ones that the model was trained on. frost_line: of the phase that the weights come from."""

    model: FineTuner
    targets: Targets
    frost_line: int


def read_weights(folder: Path, name: str) -> tuple[dict[str, Any], Path]:
    """Read a run's checkpoint; return its content and path. name: best or last. Raises RunError."""
    path = require_checkpoint(folder, name)
    content = read_checkpoint(path)
    require_finite_weights(content, path)
    if name == "best":
        _require_own(content, Record.read(folder), path)
    return content, path


def _require_own(content: dict[str, Any], record: Record, path: Path) -> None:
    """content: of a run's best checkpoint. Raises RunError if it is not the one whose scores are in run.json."""
    saved, best = content[CHECKPOINT_KEY], record.best or {}
    there = {"phase": saved["phase"], "average": saved["average"]}
    if best.get("epoch"):  # 0 without a training
        there["epoch"] = saved["epoch"] - saved["first_epoch"] + 1
    other = [f"{name} {own} instead of {best[name]}" for name, own in there.items() if own != best.get(name, own)]
    score, expected = saved["val"].get(record.monitor), record.metrics.get(record.monitor)
    if (
        isinstance(score, int | float)
        and isinstance(expected, int | float)
        and not math.isclose(score, expected, rel_tol=1e-5, abs_tol=1e-6)
    ):
        other.append(f"{record.monitor} {score:.4f} instead of {expected:.4f}")
    if record.status == "finished" and best and other:
        raise RunError(
            f"the checkpoint is not the one that this run was tested with: {', '.join(other)}",
            where=path,
            next_step=instead_of(path),
        )


def trained(settings: DictConfig, folder: Path, name: str) -> Trained:
    """Rebuild the model from a run's `opened` settings and its checkpoint. Raises RunError if they do not match."""
    content, path = read_weights(folder, name)
    targets = Targets.of(content[CHECKPOINT_KEY]["identity"]["targets"])
    model = untrained(settings, targets)
    require_unchanged(content, model, path, "network")
    load_state(model, content["state_dict"], path)
    blocks = list(model.backbone.blocks)
    plan = plan_of(settings).unfolded(blocks)
    if not plan.phases:  # nothing was trained
        return Trained(model, targets, len(blocks))
    phase = plan.phases[phase_number(plan, content[CHECKPOINT_KEY]["phase"], path)]
    return Trained(model, targets, phase.frost_line(blocks))


class Network:
    """A trained model on the run's device and in its precision, for samples outside of any data set. In bfloat16 the
    blocks below the frost line compute as in the run's own test, folded and without autocast, but in smaller chunks.

    settings: of the run, `opened`. name: of its checkpoint. Raises RunError, and ConfigError if the device is missing.
    """

    def __init__(self, settings: DictConfig, folder: Path, name: str) -> None:
        self.settings = settings
        self.model, self.targets, line = trained(settings, folder, name)
        self._trainer = single_trainer(settings, self.model.backbone)  # only its device and precision are used
        if (low := low_of(self._trainer)) is not None:
            self.model.freeze_below(line, FrozenPass(self.model.backbone, low, fills=False))
        self.model.eval().to(self._trainer.strategy.root_device)

    @property
    def task(self) -> Task:
        return self.model.task

    @property
    def device(self) -> torch.device:
        return self._trainer.strategy.root_device

    def computing(self) -> AbstractContextManager[Any]:
        """A context of the run's precision."""
        return self._trainer.precision_plugin.forward_context()

    def predicting(self, predictions: Callable[[Transfers], Iterator[Tensor]] | None = None) -> Predicting:
        """Return the object that reads and predicts samples without targets. predictions: used in place of those of
        this network. Raises ConfigError."""
        reader, settings = maker_settings(self.settings.data, "data", Reader)
        modality = modality_of(reader, self.model.backbone.spec, settings)
        run = Opened(self.task, settings, predictions or self.predictions, self.targets.about)
        return modality.predicting(run, target_type(self.targets.kind))

    def module(self, preprocess: nn.Module) -> nn.Sequential:
        """A copy of the network behind `preprocess`, on the CPU, in float32 and eval mode, with adapters merged. It
        returns numbers in the unit of the targets."""
        backbone, head, units = merged(self.model.backbone), copy.deepcopy(self.model.head), self.task.in_units()
        parts = [preprocess, backbone, head, *([] if units is None else [units])]
        return nn.Sequential(*parts).cpu().eval().requires_grad_(False)

    def predictions(self, data: Transfers) -> Iterator[Tensor]:
        """Yield the task's prediction of each sample, on the CPU, in the order of the batches."""
        for number, batch in enumerate(self.batches(data)):
            with torch.no_grad(), self.computing():
                rows = self.model.predict_step(batch, number)
            yield from (row.cpu() for row in rows)

    def batches(self, data: Transfers) -> Iterator[Batch]:
        """Yield the batches of samples to predict, as the network takes them."""
        for loaded in data.predict_dataloader():
            batch = data.transfer_batch_to_device(data.on_before_batch_transfer(loaded, 0), self.device, 0)
            yield data.on_after_batch_transfer(batch, 0)
