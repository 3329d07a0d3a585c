"""The best weights of a linear head on frozen features, computed instead of approached step by step.

Linear probing before fine-tuning: Kumar et al. 2022, arXiv:2202.10054. Shapes: B samples, D features, C outputs.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import lightning as L
import torch

from frostline.batch import Batch
from frostline.data.parts import Part
from frostline.errors import RunError
from frostline.finetuner import FineTuner
from frostline.frozen_cache.fill import FrozenOutputs
from frostline.heads import convex_layer
from frostline.probes import STEPS, LinearProbe, linear_maps
from frostline.tasks.base import Task
from frostline.tokens import values_of

ROWS = 256  # samples whose features are asked for at a time
# A solution may take so many floating-point operations, or as many as the pass that makes its features; and so many
# bytes of features. By arithmetic, so that each machine decides alike.
FLOPS, BYTES = 2e12, 2e9


class Solution(NamedTuple):
    """l2: the strength that validation chose. score: by the task's monitor."""

    l2: float
    score: float
    seconds: float


def is_affordable(rows: float, width: int, outputs: int, flops: float) -> bool:
    """For so many training samples (words, of tags). flops: of the backbone's pass over all of them."""
    work = STEPS * 4.0 * rows * width * max(outputs, 16)  # products of few columns take as long as those of 16
    return 4 * rows * width <= BYTES and work <= max(FLOPS, flops)


class HeadSolver(L.Callback):
    """Solves the head where a phase says so: rank 0 finds the solution, and every rank's head takes it over.

    solution: of the phase that was begun last, in the process that found it.
    """

    def __init__(self, frozen: FrozenOutputs) -> None:
        self.frozen = frozen
        self.solution: Solution | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raises RunError where the features are not finite."""
        assert isinstance(pl_module, FineTuner)
        self.solution = None
        if not pl_module.phase.solves or pl_module.starts_at != (pl_module.first_epoch, 0):
            return  # a resume within the phase has the weights of its solution
        layer = convex_layer(pl_module.head)
        assert layer is not None  # else the plan would not say so
        if trainer.is_global_zero:
            begun = time.perf_counter()
            best, score = self._best(pl_module)
            self.solution = Solution(best.l2, score, round(time.perf_counter() - begun, 3))
            with torch.no_grad():
                layer.weight.copy_(best.weight)
                layer.bias.copy_(best.bias)
        if trainer.world_size > 1:
            for parameter in (layer.weight, layer.bias):
                torch.distributed.broadcast(parameter.data, src=0)

    def _best(self, model: FineTuner) -> tuple[LinearProbe, float]:
        """By validation, of equals the strongest: as the baselines choose their linear probe."""
        task, data, device = model.task, self.frozen.data, model.device
        pairs = [task.rows(batch.inputs, batch.targets) for batch in self._features(data.train_part, device)]
        features = torch.cat([values for values, _ in pairs])
        targets = torch.cat([values for _, values in pairs])
        if not features.isfinite().all():
            raise RunError(
                "the features of the frozen backbone are not finite: there is no best head",
                where=f"phase '{model.phase.name}'",
                next_step="other weights (model.weights=...), or trainer.precision=32-true",
            )
        val = list(self._features(data.val_part, device))
        found: list[tuple[LinearProbe, float]] = []
        with torch.autocast(features.device.type, enabled=False):
            for candidate in linear_maps(features, task.num_outputs, lambda logits: task.loss_of_rows(logits, targets)):
                found.append((candidate, _score(candidate, task, val)))
        better = max if task.mode == "max" else min
        wanted = better(score for _, score in found)
        return next(pair for pair in found if pair[1] == wanted)

    def _features(self, part: Part, device: torch.device) -> Iterator[Batch]:
        """All of the part, without augmentation."""
        for start in range(0, len(part), ROWS):
            yield self.frozen.passed(part, list(range(start, min(start + ROWS, len(part)))), device)


def _score(candidate: LinearProbe, task: Task, val: list[Batch]) -> float:
    metrics = task.metrics().to(candidate.weight.device)
    for batch in val:
        features = values_of(batch.inputs).float()
        metrics.update(features @ candidate.weight.T + candidate.bias, batch.targets)
    return float(metrics.compute()[task.monitor.removeprefix("val/")])
