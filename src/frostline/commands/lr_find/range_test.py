"""Arithmetic of the learning-rate range test (Smith 2017, arXiv:1506.01186, section 3.3): which rates are tried, when
the test ends, which rate the losses suggest. No torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import median

from frostline.errors import ConfigError

NUMBERS, PICTURE = "rates.json", "rates.png"  # the files of a test
FEWEST_STEPS = 10
MEMORY = 1 / 20  # share of the steps over which a loss's weight falls to 1/e: a third of a decade if seven are tried
BEGINNING = 4  # memories at the start in which little is learned and the smoothing settles
WORST = 4.0  # multiple of the best smoothed loss at which the test ends
# Share of the smoothed loss's whole fall at which the suggestion lies. Over eight phases (digits with AdamW and SGD,
# from the bundled weights and from scratch; blood cells), each trained at ten rates, it cost on average 0.008 of
# validation accuracy against the best of the ten; a tenth of the rate of the lowest loss cost 0.032, the rate of the
# steepest descent 0.054 (two CPU cores, 2026-11-23). benchmarks/lr_find_worth.py measures whole plans.
FALLEN = 0.9


@dataclass(frozen=True)
class RangeTest:
    """steps: optimizer steps per phase. lowest, highest: base rates, like `optimizer.lr`. Raises ConfigError."""

    steps: int
    lowest: float
    highest: float

    def __post_init__(self) -> None:
        if self.steps < FEWEST_STEPS:
            raise ConfigError(
                f"{self.steps} steps are too few for a curve",
                where="lr_find.steps",
                next_step=f"lr_find.steps=100  # at least {FEWEST_STEPS}",
            )
        if self.lowest >= self.highest:
            raise ConfigError(
                f"the lowest rate, {self.lowest:g}, is not below the highest, {self.highest:g}",
                where="lr_find.lowest, lr_find.highest",
                next_step="lr_find.lowest=1e-6 lr_find.highest=10",
            )

    def rates(self) -> list[float]:
        """Base rate per step, rising geometrically from the lowest to the highest."""
        span = math.log(self.highest / self.lowest)
        return [self.lowest * math.exp(span * step / (self.steps - 1)) for step in range(self.steps)]

    @property
    def memory(self) -> float:
        """Memory of the smoothing in steps."""
        return self.steps * MEMORY


def diverges(losses: Sequence[float], memory: float, worst: float) -> bool:
    """Whether the last loss is not finite, or both the median of the last three losses and the exponentially smoothed,
    bias-corrected loss exceed `worst` times the best smoothed loss, and every raw loss of the beginning: small losses
    scatter beyond the first limit, and one wild batch moves the mean but not the median.

    memory: steps over which the weight of a loss falls to 1/e.
    """
    if not math.isfinite(losses[-1]):
        return True
    weights = _sums([1.0] * len(losses), memory)
    smoothed = [total / weight for total, weight in zip(_sums(losses, memory), weights, strict=True)]
    limit = max(worst * min(smoothed), *losses[: _beginning(memory)])
    return smoothed[-1] > limit and median(losses[-3:]) > limit


@dataclass(frozen=True)
class RateCurve:
    """The result of testing a phase. learns: the trained blocks, from the head down. losses: one per step, all finite.
    diverged: whether the loss diverged, which ends the test."""

    phase: str
    learns: list[str]
    test: RangeTest
    losses: list[float]
    diverged: bool

    @property
    def rates(self) -> list[float]:
        """Base rates, one for each loss."""
        return self.test.rates()[: len(self.losses)]

    @cached_property
    def clipped(self) -> list[float]:
        """Losses clipped at the worst of the beginning: how high a divergence goes says nothing of lower rates."""
        worst = max(self.losses[: _beginning(self.test.memory)])
        return [min(loss, worst) for loss in self.losses]

    @cached_property
    def smoothed(self) -> list[float]:
        """Clipped losses smoothed exponentially in both directions, as smoothing over the past alone lags behind the
        rate."""
        ones = [1.0] * len(self.losses)
        totals, weights = (_sums_of_both(values, self.test.memory) for values in (self.clipped, ones))
        return [total / weight for total, weight in zip(totals, weights, strict=True)]

    @cached_property
    def suggestion(self) -> float | None:
        """The base rate, to two digits, at which the smoothed loss has made FALLEN of its whole fall. None if it falls
        by no more than a hundredth of its first value, or no more than the losses scatter around it."""
        begun, lowest = self.smoothed[0], min(self.smoothed)
        if begun - lowest <= max(begun / 100, self._scatter(self.smoothed.index(lowest) + 1)):
            return None
        place = next(place for place, loss in enumerate(self.smoothed) if loss <= begun - FALLEN * (begun - lowest))
        return min(max(two_digits(self.rates[place]), self.test.lowest), self.test.highest)

    def smoothed_at(self, rate: float) -> float:
        """The smoothed loss at the step with the closest rate on a log scale."""
        distances = [abs(math.log(own / rate)) for own in self.rates]
        return self.smoothed[distances.index(min(distances))]

    def _scatter(self, steps: int) -> float:
        """Standard deviation of the first `steps` clipped losses around the smoothed ones."""
        pairs = zip(self.clipped[:steps], self.smoothed[:steps], strict=True)
        return math.sqrt(sum((loss - smoothed) ** 2 for loss, smoothed in pairs) / steps)


def two_digits(value: float) -> float:
    return float(f"{value:.1e}")


def _beginning(memory: float) -> int:
    """Length of the beginning in steps."""
    return max(1, round(BEGINNING * memory))


def _sums(values: Sequence[float], memory: float) -> list[float]:
    """Running sums, in which the weight of a value decays with its distance from the present one."""
    kept = math.exp(-1 / memory)
    return list(accumulate(values, lambda past, value: kept * past + value))


def _sums_of_both(values: Sequence[float], memory: float) -> list[float]:
    past, coming = _sums(values, memory), _sums(values[::-1], memory)[::-1]
    return [before + after - value for before, after, value in zip(past, coming, values, strict=True)]
