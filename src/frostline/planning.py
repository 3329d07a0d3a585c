"""The table of a plan, before its first step."""

import torch
from torch import nn

from frostline.build import Built
from frostline.estimate import Costs, measured_costs, optimizer_states, phase_bytes, phase_seconds
from frostline.freezing import blocks_of, count_of
from frostline.phases import Phase
from frostline.report.plan_table import PlannedPhase
from frostline.reuse import Choice

MEASURED: dict[str, Costs | None] = {}


def planned(built: Built) -> list[PlannedPhase]:
    """A row per phase. Enters each phase once, in order. Raises PlanError where one trains nothing."""
    costs = _costs(built)
    return [_row(built, phase, number, costs) for number, phase in enumerate(built.plan.phases)]


def _costs(built: Built) -> Costs | None:
    """Measured once by a process: the runs of a sweep cost alike. None where memory is short."""
    model, data, trainer, *_ = built
    side, device = data.spec.size, trainer.strategy.root_device
    key = f"{model.backbone} {model.head} {side} {device} {trainer.precision}"
    if key not in MEASURED:
        try:
            MEASURED[key] = measured_costs(
                model.backbone,
                model.head,
                torch.zeros(1, 3, side, side),
                device=device,
                context=trainer.precision_plugin.forward_context,
            )
        except torch.OutOfMemoryError:  # the estimate wants all gradients at once, and the plan may not
            MEASURED[key] = None
    return MEASURED[key]


def _row(built: Built, phase: Phase, number: int, costs: Costs | None) -> PlannedPhase:
    model, data, trainer, *_ = built
    groups = model.enter(phase, number, 0)
    optimizer = model.make_optimizer()
    blocks = list(model.backbone.blocks)
    rates = [group["lr"] for group in optimizer.param_groups]
    decays = [group.get("weight_decay", 0.0) for group in optimizer.param_groups]
    batches = data.batches_per_epoch(trainer.limit_train_batches)
    per_batch = len(data.train_part) / data.num_batches
    weights = sum(p.numel() * p.element_size() for p in nn.ModuleList([model.backbone, model.head]).parameters())
    choice = built.choices[number]
    states = optimizer_states(model.optimizer_of(phase), trainer.strategy.root_device)
    share = trainer.world_size
    seconds, memory = None, None
    if costs is not None:
        samples = phase.epochs * batches * per_batch / share
        passed = samples * choice.passes[0] / choice.passes[1] if choice.kept else samples
        seconds = phase_seconds(costs, phase, blocks, round(samples), round(passed))
        memory = phase_bytes(costs, phase, blocks, -(-round(per_batch) // share), groups, states, weights)
    return PlannedPhase(
        name=phase.name,
        blocks=blocks_of(groups),
        rates=(min(rates), max(rates)),
        decays=(min(decays), max(decays)),
        parameters=count_of(groups),
        epochs=phase.epochs,
        steps=phase.epochs * -(-batches // trainer.accumulate_grad_batches),
        seconds=seconds,
        memory=memory,
        frozen=_frozen(choice, blocks),
    )


def _frozen(choice: Choice, blocks: list[str]) -> str:
    """What becomes of the outputs of the frozen blocks."""
    if not choice.line:
        return ""
    lowest, highest = blocks[0], blocks[choice.line - 1]
    outputs = f"what {lowest if choice.line == 1 else f'{lowest} … {highest}'} give"
    if not choice.kept:
        return f"{outputs} is computed in each epoch: {choice.why_not}"
    once, each = choice.passes
    saved = f"{once} pass{'es' * (once != 1)} over the data instead of {each}, {choice.num_bytes / 1e6:,.1f} MB"
    seen = f"{choice.views} augmented views in turn" if choice.views else "pictures without augmentation"
    return f"{outputs} is kept: {saved}; {seen}"
