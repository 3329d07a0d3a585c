"""What learns in a phase: the frost line, applied to a model, and the parameter groups that follow from it.

Nothing here is remembered: each function derives the state from the frost line, so calling it again changes nothing.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn

from frostline.backbones.base import Backbone
from frostline.errors import PlanError
from frostline.phases import Phase


class Group(NamedTuple):
    """Parameters that share a learning rate and a weight decay. `block` is `head` or a block's name."""

    block: str
    decays: bool
    lr_scale: float
    parameters: list[nn.Parameter]

    @property
    def name(self) -> str:
        return self.block if self.decays else f"{self.block}/no_decay"


def set_frost_line(backbone: Backbone, head: nn.Module, frozen_blocks: int) -> None:
    """Freeze the first blocks, thaw the others and the head."""
    for number, block in enumerate(backbone.blocks.values()):
        block.requires_grad_(number >= frozen_blocks)
    head.requires_grad_(True)
    for parameter in frozen_parameters(backbone, head):
        parameter.grad = None
    rest_frozen(backbone, frozen_blocks)


def rest_frozen(backbone: Backbone, frozen_blocks: int) -> None:
    """Frozen blocks are in eval mode, always: BatchNorm keeps its statistics, dropout and stochastic depth are off."""
    for block in list(backbone.blocks.values())[:frozen_blocks]:
        block.eval()


def frozen_parameters(backbone: Backbone, head: nn.Module) -> Iterator[nn.Parameter]:
    return (p for module in (backbone, head) for p in module.parameters() if not p.requires_grad)


def parameter_groups(backbone: Backbone, head: nn.Module, phase: Phase) -> list[Group]:
    """The learning parameters, from the head down, two groups a block at most: with weight decay and without.

    Raises PlanError where nothing learns.
    """
    frozen = phase.frost_line(list(backbone.blocks))
    learning = [("head", head), *reversed(list(backbone.blocks.items())[frozen:])]
    groups = []
    for depth, (name, block) in enumerate(learning):
        for decays in (True, False):
            chosen = [p for p, decayed in _with_decay(block) if decayed is decays and p.requires_grad]
            if chosen:
                groups.append(Group(name, decays, phase.rate(depth), chosen))
    if not groups:
        raise PlanError(
            f"phase '{phase.name}' trains nothing: neither the head nor a thawed block has parameters",
            where=f"schedule.phases.{phase.name}.thaw",
            next_step="thaw a block that has parameters, or choose a head that has some: head=linear",
        )
    return groups


def optimizer_groups(groups: list[Group]) -> list[dict[str, Any]]:
    """As torch.optim takes them. Without `weight_decay` in a group, the optimizer's own holds."""
    return [
        {"params": group.parameters, "name": group.name, "lr_scale": group.lr_scale}
        | ({} if group.decays else {"weight_decay": 0.0})
        for group in groups
    ]


def count(parameters: Iterator[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def _with_decay(block: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """Weight decay acts on the weights of layers that multiply: not on biases, norms, tokens or position tables."""
    for module in block.modules():
        for name, parameter in module.named_parameters(recurse=False):
            yield parameter, name.endswith("weight") and parameter.ndim >= 2  # `in_proj_weight` of an attention too


def learning_weights(groups: list[dict[str, Any]]) -> Iterator[torch.Tensor]:
    """The weights that weight decay acts on, from an optimizer's groups."""
    return (p for group in groups if not group["name"].endswith("/no_decay") for p in group["params"])
