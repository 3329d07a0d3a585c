"""Compute the best weights of a linear head on frozen features, instead of approaching them step by step.

Linear probing before fine-tuning: Kumar et al. 2022, arXiv:2202.10054. Shapes: B samples, D features, C outputs.
"""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from torch.distributed.tensor import DTensor
from torchmetrics import Metric

from frostline.contracts.batch import Batch
from frostline.contracts.tokens import values_of
from frostline.contracts.tree import moved
from frostline.data.split import Split
from frostline.distributed.sharding import local, sharded_like
from frostline.errors import RunError
from frostline.frozen.outputs import FrozenOutputs
from frostline.heads.probes import MAX_EVALUATIONS, LinearProbe, linear_maps
from frostline.heads.vector import convex_layer
from frostline.tasks.base import Metrics, Task
from frostline.training.finetuner import FineTuner

ROWS = 256  # samples per batch of features
# Limits of one solve: FLOPs (or those of the pass that computes the features, if more) and bytes of features. Counted,
# not timed, so that every machine decides the same.
FLOPS, BYTES = 2e12, 2e9


class Solution(NamedTuple):
    """l2: the strength chosen on validation. score: by the task's monitor."""

    l2: float
    score: float
    seconds: float


def is_affordable(rows: float, width: int, outputs: int, flops: float) -> bool:
    """Whether a solve stays within FLOPS and BYTES. rows: samples of training and validation, or words for tags. flops:
    of the backbone's pass over all of them."""
    columns = max(outputs, 16)  # products of fewer columns take as long
    work = MAX_EVALUATIONS * 4.0 * rows * width * columns
    return 4 * rows * width <= BYTES and work <= max(FLOPS, flops)


class HeadSolver(L.Callback):
    """Solve the head in phases that ask for it. Every rank solves it, then receives the weights of rank 0.

    last: index of the plan's last phase. solution: of the current phase; None if it is not solved.
    """

    def __init__(self, frozen: FrozenOutputs, last: int) -> None:
        self.frozen = frozen
        self.last = last
        self.solution: Solution | None = None
        self._phase: str | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raises RunError if the features, or all scores of solutions, are not finite."""
        assert isinstance(pl_module, FineTuner)
        if self._phase != pl_module.phase.name:
            self._phase, self.solution = pl_module.phase.name, None
        if not pl_module.phase.solves or pl_module.starts_at != (pl_module.first_epoch, 0):
            return  # a resume within the phase has loaded the solution
        layer = convex_layer(pl_module.head)
        assert layer is not None  # Plan.settled solves only heads with such a layer
        begun = time.perf_counter()
        if isinstance(layer.weight, DTensor):  # FSDP2 must run the whole model before single blocks
            with torch.no_grad():
                pl_module(moved(self.frozen.data.example(), pl_module.device))
        best, score = self._best(pl_module)
        with torch.no_grad():
            for parameter, value in ((layer.weight, best.weight), (layer.bias, best.bias)):
                if trainer.world_size > 1:
                    torch.distributed.broadcast(value, src=0)
                local(parameter).copy_(local(sharded_like(value, parameter)))
        self.solution = Solution(best.l2, score, round(time.perf_counter() - begun, 3))

    def state_dict(self) -> dict[str, Any]:
        solution = self.solution._asdict() if self.solution is not None else None
        return {"phase": self._phase, "solution": solution}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._phase, solution = state_dict["phase"], state_dict["solution"]
        self.solution = Solution(**solution) if solution is not None else None

    def _best(self, model: FineTuner) -> tuple[LinearProbe, float]:
        """The best solution on validation, and its score by the monitor; among equals, the strongest penalty.

        If a later phase continues from it, scores within one standard error of the highest count as equal (Breiman et
        al. 1984, section 3.4.3), as epochs do: a head that is sure of every training sample leaves thawed blocks little
        gradient (benchmarks/README.md, "Defaults for pictures").
        """
        task, data, device = model.task, self.frozen.data, model.device
        pairs = [task.fit_rows(batch.inputs, batch.targets) for batch in self._features(data.train_split, device)]
        features = torch.cat([values for values, _ in pairs])
        targets = torch.cat([values for _, values in pairs])
        val, metrics = list(self._features(data.val_split, device)), _own_metrics(task, device)
        if not features.isfinite().all():
            raise _no_solution("the features of the frozen backbone are not finite", model)
        found: list[tuple[LinearProbe, float]] = []  # the strongest penalty first
        with torch.autocast(features.device.type, enabled=False):
            for candidate in linear_maps(
                features, task.num_outputs, lambda outputs: task.loss_of_rows(outputs, targets)
            ):
                score = _score(candidate, metrics, val, task.monitor)
                if math.isfinite(score):
                    found.append((candidate, score))
        if not found:
            raise _no_solution(f"{task.monitor} is not finite for any solution", model)
        sign = 1 if task.mode == "max" else -1
        least = max(sign * score for _, score in found)
        if model.phase_number < self.last:
            least -= task.standard_error(task.monitor, least, len(data.val_split))
        return next(it for it in found if sign * it[1] >= least)

    def _features(self, split: Split, device: torch.device) -> Iterator[Batch]:
        """Features of the whole split, without augmentation, ROWS samples at a time."""
        for start in range(0, len(split), ROWS):
            yield self.frozen.features_of(split, list(range(start, min(start + ROWS, len(split)))), device)


def _score(candidate: LinearProbe, metrics: Metrics, val: list[Batch], monitor: str) -> float:
    metrics.reset()
    for batch in val:
        features = values_of(batch.inputs).float()
        metrics.update(features @ candidate.weight.T + candidate.bias, batch)
    return float(metrics.compute()[monitor.removeprefix("val/")])


def _own_metrics(task: Task, device: torch.device) -> Metrics:
    """Metrics of this process alone: every rank has the whole split."""
    metrics = task.metrics().to(device)
    for metric in metrics.modules():
        if isinstance(metric, Metric):
            metric.distributed_available_fn = _never
    return metrics


def _never() -> bool:
    return False


def _no_solution(what: str, model: FineTuner) -> RunError:
    return RunError(
        f"the head cannot be solved: {what}",
        where=f"phase '{model.phase.name}'",
        next_step="trainer.precision=32-true, other weights (model.weights=...), or schedule.every_phase.solve=false",
    )
