"""Which phases keep the outputs of their frozen blocks, by arithmetic: the same for the same configuration and data,
however fast or full the machine is, since a phase that keeps them may see its pictures otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from frostline.config.ranges import NonNegative, Positive
from frostline.errors import ConfigError
from frostline.paths import at_home, user_cache
from frostline.plan.phases import Plan

# A byte that is kept has to save so many floating-point operations: at 250 a core that does 0.25 TFLOP/s computes it
# again as fast as a disk of 1 GB/s reads it.
WORTH = 250


@dataclass(frozen=True)
class Reuse:
    """when: `auto` where it pays. views: augmented ones of each training picture; 0: one, without augmentation.
    dir: null for the user's cache folder. max_gigabytes: of 10⁹ bytes.
    """

    when: Literal["auto", "never", "always"]
    views: NonNegative[int]
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
    """What so many blocks give: bytes and floating-point operations per sample."""

    num_bytes: int
    flops: float


class Samples(NamedTuple):
    """mixed: whether augmentation mixes pictures of a batch. whole_epochs: whether each epoch sees all of them."""

    train: int
    val: int
    augmented: bool
    mixed: bool
    whole_epochs: bool


class Choice(NamedTuple):
    """Of a phase. line: how many blocks are frozen below what learns. views: augmented ones of each picture, in turn;
    None: a new one each epoch. passes: over all pictures, with and without keeping. why_not: where nothing is kept."""

    line: int
    kept: bool
    views: int | None
    passes: tuple[int, int]
    num_bytes: int
    why_not: str


def choices(
    reuse: Reuse, plan: Plan, blocks: Sequence[str], lines: Sequence[Line], samples: Samples, hindrance: str
) -> list[Choice]:
    """lines: for 0, 1, ... all blocks. hindrance: why nothing can be kept at all, if so.

    Raises ConfigError where `always` cannot be."""
    made: list[Choice] = []
    for number, phase in enumerate(plan.phases):
        line = phase.frost_line(blocks)
        views = reuse.views if samples.augmented and not phase.solves else 0
        copies = max(min(views, phase.epochs), 1)
        num_bytes = lines[line].num_bytes * (samples.train * copies + samples.val)
        follows = views == 0 and any(_below(plan, blocks, earlier, number) for earlier in _kept(made))
        impossible = _impossible(reuse, line, views, num_bytes, samples, hindrance)
        passes = phase.epochs + phase.solves  # one pass to solve, one to score
        why_not = impossible or _not_worth(reuse, passes, copies, lines[line], follows=follows)
        if impossible and reuse.when == "always" and line:
            raise ConfigError(
                f"phase '{phase.name}' cannot keep what its frozen blocks give: {impossible}",
                where="cache",
                next_step="cache=auto, or change what stands in the way",
            )
        kept = not why_not
        shown = (copies if views else 0) if kept or phase.solves else None
        made.append(Choice(line, kept, shown, (0 if follows else copies, passes), num_bytes, why_not))
    return made


def lines_made(plan: Plan, blocks: Sequence[str], made: Sequence[Choice], number: int) -> list[int]:
    """Which lines to fill, from the stem up, before the plan's `number`-th phase: its own, and those below it that
    later phases will need, since what lies below is on the way."""
    later = [n for n in _kept(made) if n > number and _below(plan, blocks, number, n)]
    wanted = {made[n].line for n in later if made[n].views == made[number].views == 0}
    return sorted(line for line in wanted | {made[number].line} if line)


def _impossible(reuse: Reuse, line: int, views: int, num_bytes: int, samples: Samples, hindrance: str) -> str:
    if not line:
        return "no block at the stem is frozen"
    if hindrance:
        return hindrance
    if not samples.whole_epochs:
        return "epochs see only a part of the data (trainer.limit_..._batches)"
    if views and samples.mixed:
        return "pictures are mixed with others of their batch (data.augment=strong): no view of one can be kept"
    if num_bytes > reuse.max_bytes:
        return f"{num_bytes / 1e9:,.1f} GB would be more than cache.max_gigabytes={reuse.max_gigabytes:g}"
    return ""


def _not_worth(reuse: Reuse, passes: int, copies: int, line: Line, *, follows: bool) -> str:
    if reuse.when == "never":
        return "cache=never"
    if reuse.when == "always":
        return ""
    if passes <= copies and not follows:
        return f"{passes} epoch{'s' * (passes > 1)}, each seen once: nothing would be computed twice"
    if line.flops < WORTH * line.num_bytes:
        return "computing it again takes no longer than reading it"
    return ""


def _kept(made: Sequence[Choice]) -> list[int]:
    return [number for number, choice in enumerate(made) if choice.kept]


def _below(plan: Plan, blocks: Sequence[str], earlier: int, later: int) -> bool:
    """Whether what is frozen in the later phase is on the way to what is frozen in the earlier one, and as it was."""
    line = plan.phases[later].frost_line(blocks)
    between = plan.phases[earlier:later]
    from_best = any(phase.start_from == "best" for phase in plan.phases[earlier + 1 : later + 1])
    learned = any(set(phase.thawed(blocks)) & set(blocks[:line]) for phase in between)
    return not from_best and not learned and plan.phases[earlier].frost_line(blocks) >= line
