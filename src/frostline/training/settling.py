"""Resolve what a plan leaves open until its data are known: its depth, its norm layers, and which heads are solved."""

from functools import partial

import lightning as L
from torch import nn

from frostline.backbones.base import Backbone
from frostline.config.plain import Config
from frostline.data.module import Data
from frostline.errors import RunError
from frostline.frozen.policy import Reuse
from frostline.heads.vector import convex_layer
from frostline.plan.phases import Plan
from frostline.plan.with_adapters import NONE
from frostline.tasks.base import Task
from frostline.training.batch_size import costs_of
from frostline.training.costs import Costs, EpochSamples
from frostline.training.depth import Depth, chosen_depth, depths_of, plan_seconds, require_one_process
from frostline.training.frozen_setup import choices_of, low_of, tried_outputs
from frostline.training.solving import is_affordable
from frostline.training.trainer import make_trainer


def deepened(
    cfg: Config, plan: Plan, reuse: Reuse, backbone: Backbone, head: nn.Module, task: Task, data: Data
) -> tuple[Plan, list[Depth], int | None]:
    """Replace `thaw: auto`. Return the plan, the candidate depths and the chosen one. Raises ConfigError, RunError."""
    if not plan.open_phases:
        return plan, [], None
    trainer = make_trainer(cfg.trainer, [], logger=False)
    outputs = tried_outputs(backbone, data, trainer, low_of(trainer))
    solvable = is_solvable(head, task, backbone, data, trainer, outputs[-1].flops)
    blocks, minutes = list(backbone.blocks), cfg.schedule.minutes
    costs = costs_of(backbone, head, data.example(), trainer) if minutes is not None else None
    if minutes is not None and costs is None:
        raise RunError(
            "the time of a step cannot be measured: memory ran out",
            where="schedule.minutes",
            next_step="schedule.minutes=null, smaller pictures, shorter texts, or a smaller model",
        )

    def seconds(depth: int, costs: Costs) -> float:
        tried = settled(plan.deep(depth), data, trainer, pretrained=True, solvable=solvable)
        chosen = choices_of(reuse, tried, backbone, outputs, data, trainer)
        return plan_seconds(costs, tried, chosen, blocks, epoch_samples(data, trainer))

    depths = depths_of(blocks, outputs, partial(seconds, costs=costs) if costs is not None else None)
    depth = chosen_depth(depths, minutes, least=int(cfg.adapter._target_ != NONE))
    if minutes is not None:
        require_one_process(trainer.world_size, f"schedule.phases.{plan.open_phases[0]}.thaw", depth)
    return plan.deep(depth), depths, depth


def settled(plan: Plan, data: Data, trainer: L.Trainer, *, pretrained: bool, solvable: bool) -> Plan:
    return plan.settled(
        pretrained=pretrained,
        samples=len(data.train_split),
        steps_per_epoch=-(
            -data.num_batches // trainer.accumulate_grad_batches
        ),  # limit_train_batches makes no data small
        solvable=solvable,
    )


def is_solvable(head: nn.Module, task: Task, backbone: Backbone, data: Data, trainer: L.Trainer, flops: float) -> bool:
    """Whether the head can be solved: convex loss, whole epochs, affordable. flops: of the backbone, per sample."""
    limits = (trainer.limit_train_batches, trainer.limit_val_batches)
    whole = all(limit == 1.0 and isinstance(limit, float) for limit in limits)
    if convex_layer(head) is None or not task.solvable or task.l1 or not whole:
        return False
    samples = len(data.train_split) + len(data.val_split)
    return is_affordable(samples * task.rows_per_sample, backbone.features.width, task.num_outputs, samples * flops)


def epoch_samples(data: Data, trainer: L.Trainer) -> EpochSamples:
    per_batch = len(data.train_split) / data.num_batches
    trained = data.batches_per_epoch(trainer.limit_train_batches) * per_batch
    limit, batches = trainer.limit_val_batches, data.batches_of(data.val_split)
    batches_scored = int(limit * batches) if isinstance(limit, float) else min(limit, batches)
    scored = len(data.val_split) * batches_scored / batches
    return EpochSamples(trained / trainer.world_size, scored / trainer.world_size)
