"""Make an optimizer factory for each phase."""

import inspect
from functools import partial

import torch
from torch import nn

from frostline.config.instantiate import Node, maker_of
from frostline.config.plain import Config
from frostline.distributed.sharding import WAYS
from frostline.errors import ConfigError
from frostline.plan.phases import Plan
from frostline.training.finetuner import OptimizerFactory


def optimizers_of(cfg: Config, plan: Plan) -> dict[str, OptimizerFactory]:
    """Optimizer factories by phase name. Raises ConfigError."""
    # With fused optimizers Lightning clips gradients only in float32; float16 and FSDP are not tried with them.
    node = cfg.trainer
    clips = node.gradient_clip_val is not None and node.precision != "32-true"
    fuses = not clips and node.precision != "16-mixed" and node.strategy != "fsdp"
    default = _optimizer(cfg.optimizer, "optimizer", fuses=fuses)
    return {
        phase.name: default
        if phase.optimizer is None
        else _optimizer(phase.optimizer, f"schedule.phases.{phase.name}.optimizer", fuses=fuses)
        for phase in plan.phases
    }


def _optimizer(node: Node, where: str, *, fuses: bool) -> OptimizerFactory:
    """fuses: use a fused kernel, unless the settings decide otherwise: a fifth of the time for AdamW
    (benchmarks/step_choices.py)."""
    make = maker_of(node, where)
    if fuses and "fused" in inspect.signature(make).parameters and not WAYS & node.keys():
        make = partial(make, fused=True)
    try:
        make([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)])  # some reject several groups
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise ConfigError(
            f"the optimizer rejects its settings: {error}", where=where, next_step="correct that setting"
        ) from error
    return make
