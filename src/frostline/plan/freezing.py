"""Apply a phase to a model: set what learns, and make the parameter groups of its optimizer.

Nothing is stored here: each function derives the state from the phase, so calling it again changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.adapters.layers import adapter_parameters, scales
from frostline.backbones.base import Backbone
from frostline.errors import PlanError
from frostline.plan.phase import Phase

NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.instancenorm._InstanceNorm)
NAMES_OF_NORMS = ("RMSNorm", "LayerNorm")  # suffixes of norm classes of other libraries, not derived from torch's
NO_DECAY = "/no_decay"  # ends the name of a group without weight decay


class Group(NamedTuple):
    """Parameters that share a learning rate and a weight decay. `block` is `head` or a block's name."""

    block: str
    decays: bool
    lr_scale: float
    parameters: list[nn.Parameter]

    @property
    def name(self) -> str:
        return self.block if self.decays else self.block + NO_DECAY


def learning(backbone: Backbone, head: nn.Module, phase: Phase) -> list[nn.Parameter]:
    """The parameters that learn in the phase, whatever the model's current state."""
    thawed = phase.thawed(list(backbone.blocks))
    chosen = [p for name, block in backbone.blocks.items() if name in thawed for p in _chosen(block, phase)]
    return [*chosen, *head.parameters()]


def set_trainable(backbone: Backbone, head: nn.Module, phase: Phase) -> None:
    """Thaw the head and what the phase names, and freeze the rest."""
    for block in backbone.blocks.values():
        block.requires_grad_(False)
    for parameter in learning(backbone, head, phase):
        parameter.requires_grad_(True)
    for parameter in frozen_parameters(backbone, head):
        parameter.grad = None
    rest_frozen(backbone, phase)


def rest_frozen(backbone: Backbone, phase: Phase) -> None:
    """Put frozen blocks into eval mode: BatchNorm keeps its statistics, dropout and stochastic depth are off. With
    `norm: frozen`, do the same with the norm layers of thawed blocks."""
    thawed = phase.thawed(list(backbone.blocks))
    for name, block in backbone.blocks.items():
        if name not in thawed:
            block.eval()
        elif phase.norm == "frozen":
            for norm in _norms(block):
                norm.eval()
    if list(backbone.blocks)[-1] not in thawed:
        backbone.pool.eval()  # some networks have dropout there


def frozen_parameters(backbone: Backbone, head: nn.Module) -> Iterator[nn.Parameter]:
    return (p for module in (backbone, head) for p in module.parameters() if not p.requires_grad)


def parameter_groups(backbone: Backbone, head: nn.Module, phase: Phase) -> list[Group]:
    """Group the learning parameters, from the head down, at most two groups per block: with weight decay and without.
    The groups depend on the phase alone, not on which phase the model has entered.

    Raises PlanError if nothing learns, or nothing in the thawed blocks.
    """
    thawed = phase.thawed(list(backbone.blocks))
    parts = [("head", head), *reversed(list(backbone.blocks.items()))]
    learns = {id(parameter) for parameter in learning(backbone, head, phase)}
    groups = []
    for depth, (name, block) in enumerate(parts):
        if name != "head" and name not in thawed:
            continue
        for decays in (True, False):
            chosen = [p for p, decayed in _with_decay(block) if decayed is decays and id(p) in learns]
            if chosen:
                groups.append(Group(name, decays, phase.rate(depth), chosen))
    if not groups or (thawed and {group.block for group in groups} <= {"head"}):
        reason = f"{', '.join(thawed)}: no {phase.only or 'parameters'}" if thawed else "the head has no parameters"
        raise PlanError(
            f"phase '{phase.name}' trains nothing: {reason}",
            where=f"schedule.phases.{phase.name}.thaw",
            next_step="thaw a block that has parameters, or choose a head that has some: head=linear",
        )
    return groups


def require_nothing_to_learn(phases: Sequence[Phase], head: nn.Module) -> None:
    """Raises PlanError if there are no phases, but the head has parameters, which would stay random."""
    if not phases and count(head.parameters()):
        raise PlanError(
            "this plan trains nothing, but the head has parameters to learn",
            where="schedule, head",
            next_step="head=identity; or schedule=head_only",
        )


def optimizer_groups(groups: list[Group], phase: Phase) -> list[dict[str, Any]]:
    """The groups in the form of torch.optim. A group without `weight_decay` gets the optimizer's default."""
    decay = {} if phase.weight_decay is None else {"weight_decay": phase.weight_decay}
    return [
        {"params": group.parameters, "name": group.name, "lr_scale": group.lr_scale}
        | (decay if group.decays else {"weight_decay": 0.0})
        for group in groups
    ]


def learning_weights(groups: list[dict[str, Any]]) -> Iterator[torch.Tensor]:
    """The weights in an optimizer's groups on which weight decay acts."""
    return (p for group in groups if not group["name"].endswith(NO_DECAY) for p in group["params"])


def count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def count_of(groups: list[Group]) -> int:
    return count(p for group in groups for p in group.parameters)


def blocks_of(groups: list[Group]) -> list[str]:
    """Names of the blocks that learn, from the head down."""
    return list(dict.fromkeys(group.block for group in groups))


def _chosen(block: nn.Module, phase: Phase) -> Iterator[nn.Parameter]:
    if phase.only is None:
        yield from block.parameters()
        return
    kinds = [phase.only] if isinstance(phase.only, str) else phase.only
    norms = set(_norms(block))
    yield from adapter_parameters(block) if "adapters" in kinds else ()
    for module in block.modules():
        for name, parameter in module.named_parameters(recurse=False):
            kind = "norms" if module in norms else "biases" if name.endswith("bias") else None
            if kind in kinds:
                yield parameter


def _norms(block: nn.Module) -> Iterator[nn.Module]:
    return (it for it in block.modules() if isinstance(it, NORMS) or type(it).__name__.endswith(NAMES_OF_NORMS))


def _with_decay(block: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """Each parameter, and whether weight decay acts on it: on matrices and kernels named `weight`, but not on biases,
    norms, bare tokens and position tables, or the scales of adapters."""
    kept = {id(parameter) for parameter in scales(block)}
    for module in block.modules():
        for name, parameter in module.named_parameters(recurse=False):
            multiplies = name.endswith("weight") and parameter.ndim >= 2  # `in_proj_weight` of an attention too
            yield parameter, multiplies and id(parameter) not in kept
