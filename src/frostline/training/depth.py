"""Choose how many blocks `thaw: auto` thaws: by the network's arithmetic, or by `schedule.minutes`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from frostline.errors import ConfigError
from frostline.frozen.blocks import Output
from frostline.frozen.policy import Choice
from frostline.plan.phase import Phase
from frostline.plan.phases import Plan
from frostline.training.costs import Costs, EpochSamples, phase_seconds

SHARE = 0.6  # largest share of the arithmetic that thaws; benchmarks/README.md, "Defaults for pictures"


class Depth(NamedTuple):
    """One candidate: the top `blocks` blocks thaw, down to `block`.

    flops: of those blocks, forward, per sample. share: of the backbone's flops. seconds: estimate for the plan.
    """

    blocks: int
    block: str
    flops: float
    share: float
    seconds: float | None


def depths_of(blocks: Sequence[str], outputs: Sequence[Output], seconds: Callable[[int], float] | None) -> list[Depth]:
    """One Depth for each number of thawed blocks, 0 to all. outputs: of 0, 1, ... blocks from the stem. seconds:
    estimates the plan for a number of thawed blocks. Raises ConfigError if no operation can be counted."""
    whole = outputs[-1].flops
    if not whole:
        raise ConfigError(
            "`thaw: auto` counts floating-point operations, but cannot count any of this backbone",
            where="schedule",
            next_step="set a number of blocks: schedule.phases.top.thaw=2",
        )
    found = []
    for number in range(len(blocks) + 1):
        flops = whole - outputs[len(blocks) - number].flops
        lowest = blocks[-number] if number else "-"
        found.append(Depth(number, lowest, flops, flops / whole, seconds(number) if seconds is not None else None))
    return found


def chosen_depth(depths: Sequence[Depth], minutes: float | None, *, least: int) -> int:
    """The most blocks that fit into `minutes`, at least `least`; without minutes, the most that fit into `SHARE` of the
    arithmetic, at least one."""
    if minutes is None:
        return max(1, *(depth.blocks for depth in depths if depth.share <= SHARE))
    fitting = [depth.blocks for depth in depths if depth.seconds is not None and depth.seconds <= 60 * minutes]
    return max(least, *fitting, 0)


def plan_seconds(
    costs: Costs, plan: Plan, choices: Sequence[Choice], blocks: Sequence[str], samples: EpochSamples
) -> float:
    """Seconds for all phases on one device, with validation."""
    pairs = zip(plan.phases, choices, strict=True)
    return sum(seconds_of(costs, phase, choice, list(blocks), samples) for phase, choice in pairs)


def seconds_of(costs: Costs, phase: Phase, choice: Choice, blocks: list[str], samples: EpochSamples) -> float:
    """Seconds for a phase on one device, with validation."""
    once, each = choice.passes
    passed = (once if choice.kept else each) * samples.trained
    scorings = min(once, 1) if choice.kept else phase.epochs + phase.solves  # validation is not augmented
    passed += scorings * samples.scored
    trained, scored = (phase.epochs * number for number in samples)
    return phase_seconds(costs, phase, blocks, trained, scored, passed)


def require_one_process(world_size: int, where: str, depth: int) -> None:
    """Raises ConfigError if there are several processes: each would measure and choose for itself."""
    if world_size > 1:
        raise ConfigError(
            f"schedule.minutes is measured by one process, but this run has {world_size}",
            where="schedule.minutes",
            next_step=f"{where}={depth} schedule.minutes=null",
        )
