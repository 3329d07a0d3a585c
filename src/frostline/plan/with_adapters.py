"""Fit a plan to a backbone with or without an adapter. Arithmetic only, no torch.

A plan without `only: adapters` in any phase was written for backbones without an adapter. With one, only the adapters
learn in the blocks that such a plan thaws whole.
"""

from collections.abc import Sequence
from dataclasses import replace

from frostline.errors import PlanError
from frostline.plan.phase import Phase
from frostline.plan.phases import Plan

NONE = "frostline.adapters.kinds.NoAdapter"  # `_target_` of adapter=none; a string, as the class would import torch


def with_adapter(plan: Plan, *, adapter: bool) -> Plan:
    """Fit the plan. adapter: whether there is one. Raises PlanError if the plan trains adapters and there is none, if
    no phase trains the adapter, or if `l2_sp` is set while only adapters learn, which have no pretrained weights."""
    named = [phase for phase in plan.phases if _kinds(phase) & {"adapters"}]
    if not adapter:
        if named:
            raise PlanError(
                f"phase '{named[0].name}' trains only adapters, but adapter=none",
                where=f"schedule.phases.{named[0].name}.only",
                next_step="adapter=lora, or another plan (schedule=two_stage)",
            )
        return plan
    phases = plan.phases if named else tuple(_by_adapters(phase) for phase in plan.phases)
    learning = [phase for phase in phases if _kinds(phase) & {"adapters"} and phase.thaw not in ("none", 0)]
    if not learning:
        raise PlanError(
            "no phase of the plan trains the adapter",
            where="schedule",
            next_step="schedule=adapters, another plan that thaws, or adapter=none",
        )
    pulled = [phase for phase in learning if phase.l2_sp and _kinds(phase) == {"adapters"}]
    if pulled:
        raise PlanError(
            f"in phase '{pulled[0].name}' only adapters learn, so `l2_sp` has no pretrained weights to pull",
            where=f"schedule.phases.{pulled[0].name}.l2_sp",
            next_step="l2_sp: 0; weight_decay pulls a LoRA adapter towards doing nothing",
        )
    return replace(plan, phases=phases)


def adapted_blocks(plan: Plan, blocks: Sequence[str]) -> list[str]:
    """The blocks, from the stem up, that a phase with `adapters` in `only` thaws. Raises PlanError."""
    thawed = {name for phase in plan.phases if _kinds(phase) & {"adapters"} for name in phase.thawed(blocks)}
    return [name for name in blocks if name in thawed]


def _by_adapters(phase: Phase) -> Phase:
    return phase if phase.only is not None or phase.thaw in ("none", 0) else replace(phase, only="adapters")


def _kinds(phase: Phase) -> set[str]:
    return {phase.only} if isinstance(phase.only, str) else set(phase.only or ())
