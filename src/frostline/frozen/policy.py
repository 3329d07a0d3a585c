"""Decide which views each phase shows, and which phases cache the outputs of their frozen blocks. Both follow from
configuration and data alone, not from the speed or free space of the machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from frostline.config.ranges import Positive
from frostline.errors import ConfigError
from frostline.paths import at_home, user_cache
from frostline.plan.phases import Plan

# Floating-point operations that each cached byte must save: at 250, a core with 0.25 TFLOP/s recomputes a byte as fast
# as a disk with 1 GB/s reads it.
WORTH = 250
# Most bytes of outputs per phase for which `views: auto` gives up augmentation. Not cache.max_gigabytes: that depends
# on the disk, and must not change what a run learns.
MOST_BYTES = 20_000_000_000
NOTHING_FROZEN = "no block at the stem is frozen"


@dataclass(frozen=True)
class Reuse:
    """when: `auto` caches if it pays. dir: null for the user's cache folder. max_gigabytes: in units of 10⁹ bytes.

    The cache does not decide which views a phase shows: see `Phase.views`.
    """

    when: Literal["auto", "never", "always"]
    dir: str | None
    max_gigabytes: Positive[float]

    @property
    def folder(self) -> Path:
        return kept_in(self.dir)

    @property
    def max_bytes(self) -> int:
        return int(self.max_gigabytes * 1e9)


def kept_in(dir: str | None) -> Path:
    return user_cache() if dir is None else at_home(dir)


class Line(NamedTuple):
    """Outputs at a frost line, per sample: bytes, and the floating-point operations to compute them."""

    num_bytes: int
    flops: float


class Samples(NamedTuple):
    """train, val: numbers of samples. augmented: whether an augmentation is configured. mixed: whether it mixes the
    pictures of a batch. whole_epochs: whether each epoch sees every sample."""

    train: int
    val: int
    augmented: bool
    mixed: bool
    whole_epochs: bool


class Shown(NamedTuple):
    """What a phase shows of each training sample. views: number of augmented views, in turn; 0: the sample without
    augmentation; None: a new view each epoch. why: the reason for new views, if `views: auto` chose them."""

    views: int | None
    why: str = ""


class Choice(NamedTuple):
    """Whether a phase caches its frozen outputs. line: its frost line. views: see Shown. passes: over the data, with
    and without the cache. why_not: the reason if nothing is cached."""

    line: int
    kept: bool
    views: int | None
    passes: tuple[int, int]
    num_bytes: int
    why_not: str


class _Outputs(NamedTuple):
    """Frozen outputs of a phase for all its samples. copies: of the training split. passes: over the data without the
    cache. follows: whether an earlier phase computes them on the way."""

    line: Line
    copies: int
    num_bytes: int
    passes: int
    follows: bool


def views_of(plan: Plan, blocks: Sequence[str], lines: Sequence[Line], samples: Samples) -> list[Shown]:
    """Decide what each phase shows. lines: for 0, 1, ... all blocks.

    `views: auto` gives up augmentation if reusing outputs saves more than reading them costs. That depends on plan and
    data alone: neither the settings of the cache nor the hardware change what a run learns.
    """
    shown: list[Shown] = []
    reused: list[int] = []  # phases whose outputs are worth caching
    for number, phase in enumerate(plan.phases):
        views = (
            None if phase.views == "fresh" else 0 if isinstance(phase.views, str) else min(phase.views, phase.epochs)
        )
        shown.append(Shown(views if samples.augmented and not phase.solves else 0))
        why_not = _never_again(shown[number], samples) if phase.frost_line(blocks) else NOTHING_FROZEN
        if not why_not:
            outputs = _outputs(plan, blocks, lines, samples, shown, reused, number)
            limit = f"the {MOST_BYTES / 1e9:g} GB up to which augmentation is given up"
            why_not = _impossible(outputs, samples, MOST_BYTES, limit) or _not_worth(outputs)
        if not why_not:
            reused.append(number)
        elif phase.views == "auto" and samples.augmented and not phase.solves:
            shown[number] = Shown(None, why_not)
    return shown


def choices(
    reuse: Reuse,
    plan: Plan,
    blocks: Sequence[str],
    lines: Sequence[Line],
    samples: Samples,
    shown: Sequence[Shown],
    hindrance: str,
) -> list[Choice]:
    """Decide which phases cache their frozen outputs. lines: for 0, 1, ... all blocks. shown: one per phase. hindrance:
    why no phase can cache, or "".

    Raises ConfigError if `always` is impossible for a reason other than the plan's frost lines and views."""
    made: list[Choice] = []
    for number, phase in enumerate(plan.phases):
        line = phase.frost_line(blocks)
        outputs = _outputs(plan, blocks, lines, samples, shown, _kept(made), number)
        why_not = _never_again(shown[number], samples) if line else NOTHING_FROZEN
        if not why_not:
            limit = f"cache.max_gigabytes={reuse.max_gigabytes:g}"
            why_not = hindrance or _impossible(outputs, samples, reuse.max_bytes, limit)
            if why_not and reuse.when == "always":
                raise ConfigError(
                    f"phase '{phase.name}' cannot cache the outputs of its frozen blocks: {why_not}",
                    where="cache",
                    next_step="cache=auto, or remove this obstacle",
                )
        if not why_not and reuse.when != "always":
            why_not = "cache=never" if reuse.when == "never" else _not_worth(outputs)
        passes = (0 if outputs.follows else outputs.copies, outputs.passes)
        made.append(Choice(line, not why_not, shown[number].views, passes, outputs.num_bytes, why_not))
    return made


def lines_made(plan: Plan, blocks: Sequence[str], made: Sequence[Choice], number: int) -> list[int]:
    """Lines to cache, from the stem up, before the phase at index `number`: its own, and lower ones that later phases
    need, because their outputs are computed on the way."""
    later = [n for n in _kept(made) if n > number and _below(plan, blocks, number, n)]
    wanted = {made[n].line for n in later if made[n].views == made[number].views == 0}
    return sorted(line for line in wanted | {made[number].line} if line)


def _outputs(
    plan: Plan,
    blocks: Sequence[str],
    lines: Sequence[Line],
    samples: Samples,
    shown: Sequence[Shown],
    kept: Sequence[int],
    number: int,
) -> _Outputs:
    """kept: indices of earlier phases that cache theirs."""
    phase, views = plan.phases[number], shown[number].views
    line = lines[phase.frost_line(blocks)]
    copies = max(min(views or 0, phase.epochs), 1)
    plain = [earlier for earlier in kept if shown[earlier].views == views == 0]
    return _Outputs(
        line,
        copies,
        num_bytes=line.num_bytes * (samples.train * copies + samples.val),
        passes=phase.epochs + phase.solves,  # one pass to solve, one to score
        follows=any(_below(plan, blocks, earlier, number) for earlier in plain),
    )


def _never_again(shown: Shown, samples: Samples) -> str:
    """Why no view is shown twice, so that no output can be reused; "" if views repeat."""
    if shown.views is None:
        return shown.why or "no view is shown twice"
    if shown.views and samples.mixed:
        return "samples are mixed with others of their batch (data.augment=strong), so no view can be cached"
    return ""


def _impossible(outputs: _Outputs, samples: Samples, most: int, limit: str) -> str:
    """Why the outputs cannot be cached, or "". most: in bytes. limit: the same in words."""
    if not samples.whole_epochs:
        return "epochs see only some of the data (trainer.limit_..._batches)"
    if outputs.num_bytes > most:
        return f"{outputs.num_bytes / 1e9:,.1f} GB would be more than {limit}"
    return ""


def _not_worth(outputs: _Outputs) -> str:
    passes = outputs.passes
    if passes <= outputs.copies and not outputs.follows:
        return f"{passes} epoch{'s' * (passes > 1)}, and each view is shown once: nothing is computed twice"
    if outputs.line.flops < WORTH * outputs.line.num_bytes:
        return "computing it again takes no longer than reading it"
    return ""


def _kept(made: Sequence[Choice]) -> list[int]:
    return [number for number, choice in enumerate(made) if choice.kept]


def _below(plan: Plan, blocks: Sequence[str], earlier: int, later: int) -> bool:
    """Whether the earlier phase computes the later one's frozen outputs on the way, with unchanged weights."""
    line = plan.phases[later].frost_line(blocks)
    between = plan.phases[earlier:later]
    from_best = any(phase.start_from == "best" for phase in plan.phases[earlier + 1 : later + 1])
    learned = any(set(phase.thawed(blocks)) & set(blocks[:line]) for phase in between)
    return not from_best and not learned and plan.phases[earlier].frost_line(blocks) >= line
