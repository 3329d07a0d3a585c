"""Forecast a run: a row per phase, from the same parameter groups that its optimizer gets."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from frostline.frozen.policy import Choice
from frostline.plan.freezing import blocks_of, count_of, parameter_groups
from frostline.plan.phase import Phase
from frostline.training.batch_size import costs_of, weights_bytes
from frostline.training.build import Built
from frostline.training.costs import Costs, optimizer_states, phase_bytes
from frostline.training.depth import seconds_of
from frostline.training.settling import epoch_samples


class PlannedPhase(NamedTuple):
    """rates, decays: lowest and highest of the groups. seconds: on one device of this kind, with validation. memory: in
    bytes; both None if not estimated. frozen: whether outputs of frozen blocks are cached, in words; "" if there are
    none. shown: which views training samples have. solved: whether the head is computed without steps."""

    name: str
    blocks: list[str]
    rates: tuple[float, float]
    decays: tuple[float, float]
    parameters: int
    epochs: int
    steps: int
    seconds: float | None
    memory: float | None
    frozen: str
    shown: str
    solved: bool


def seconds_in_all(rows: Sequence[PlannedPhase]) -> float | None:
    """The estimate for the whole plan; None if a phase has none."""
    seconds = [row.seconds for row in rows]
    return None if None in seconds else math.fsum(filter(None, seconds))


def planned(built: Built) -> list[PlannedPhase]:
    """A row per phase. Changes nothing: neither the model, nor views or cache, nor the random state. Raises PlanError
    if a phase trains nothing."""
    model, data, trainer, *_ = built
    costs = costs_of(model.backbone, model.head, data.example(), trainer)
    return [_row(built, phase, number, costs) for number, phase in enumerate(built.plan.phases)]


def _row(built: Built, phase: Phase, number: int, costs: Costs | None) -> PlannedPhase:
    model, data, trainer, *_ = built
    groups = parameter_groups(model.backbone, model.head, phase)
    optimizer = model.make_optimizer(phase)
    blocks = list(model.backbone.blocks)
    rates = [group["lr"] for group in optimizer.param_groups]
    decays = [group.get("weight_decay", 0.0) for group in optimizer.param_groups]
    batches = data.batches_per_epoch(trainer.limit_train_batches)
    weights = weights_bytes(model.backbone, model.head)
    choice = built.choices[number]
    states = optimizer_states(model.optimizer_of(phase), trainer.strategy.root_device)
    seconds, memory = None, None
    if costs is not None:
        seconds = seconds_of(costs, phase, choice, blocks, epoch_samples(data, trainer))
        per_device = -(-round(len(data.train_split) / data.num_batches) // trainer.world_size)
        memory = phase_bytes(costs, phase, blocks, per_device, groups, states, weights)
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
        shown=_shown(choice.views, data.modality.plainly),
        solved=phase.solves,
    )


def _shown(views: int | None, plain: str) -> str:
    """Which views training samples have, in words. plain: words for no augmentation."""
    if not views:
        return plain if views == 0 else "a new view each epoch"
    return "the same augmented view each epoch" if views == 1 else f"{views} views in turn"


def _frozen(choice: Choice, blocks: list[str]) -> str:
    """Whether the outputs of the frozen blocks are cached, in words."""
    if not choice.line:
        return ""
    lowest, highest = blocks[0], blocks[choice.line - 1]
    outputs = f"outputs of {lowest if choice.line == 1 else f'{lowest} … {highest}'}"
    if not choice.kept:
        return f"{outputs} are computed in each epoch: {choice.why_not}"
    once, each = choice.passes
    saved = f"{once} pass{'es' * (once != 1)} over the data instead of {each}, {choice.num_bytes / 1e6:,.1f} MB"
    return f"{outputs} are cached: {saved}"
