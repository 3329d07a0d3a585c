"""Intervals of scores over samples, and which settings are as good as the best: a paired bootstrap (Efron 1979).

Every setting is scored on the same draws of the same samples, so that what is hard in a draw is hard for all. Shapes:
N samples, B draws.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from frostline.report.sample_scores import SampleScore

DRAWS = 2000
PER_COMPARISON = 40  # draws for each compared setting: so many are needed for one of many to be significant
SHARE = 0.05  # of false alarms: intervals hold 95 %
AT_ONCE = 4_000_000  # numbers drawn at a time


class Interval(NamedTuple):
    """low, high: 95 % interval of the score over samples. as_good: whether the setting is not significantly worse than
    the best one, by Holm's correction over all settings."""

    low: float
    high: float
    as_good: bool


def intervals(settings: Sequence[Sequence[SampleScore]], mode: str, seed: int = 0) -> list[Interval] | None:
    """settings: of each setting the scores of its runs, whose mean over the runs is compared. mode: max or min. None if
    the settings were not scored on the same samples."""
    import numpy as np

    runs = [run for setting in settings for run in setting]
    if not runs or any(run.samples != runs[0].samples for run in runs) or not all(settings):
        return None
    sign = 1 if mode == "max" else -1
    draws = max(DRAWS, PER_COMPARISON * len(settings))
    drawn = _drawn(settings, len(runs[0].samples), draws, seed)
    means = [float(np.mean([run.value for run in setting])) for setting in settings]
    best = int(np.argmax([sign * mean for mean in means]))
    chances = [_chance(sign * (drawn[best] - own)) for own in drawn]
    worse = holm([chance for at, chance in enumerate(chances) if at != best])
    worse.insert(best, False)
    ends = np.nanquantile(drawn, [SHARE / 2, 1 - SHARE / 2], axis=1)
    return [Interval(float(low), float(high), not lost) for low, high, lost in zip(*ends, worse, strict=True)]


def _drawn(settings: Sequence[Sequence[SampleScore]], number: int, draws: int, seed: int) -> Any:
    """(settings, B): the mean score of each setting's runs in each draw. number: of samples."""
    import numpy as np

    random = np.random.default_rng(seed)
    chunk = max(1, AT_ONCE // max(number, 1))
    found = []
    for first in range(0, draws, chunk):
        rows = min(chunk, draws - first)
        chosen = random.integers(0, number, (rows, number)) + np.arange(rows)[:, None] * number
        times = np.bincount(chosen.ravel(), minlength=rows * number).reshape(rows, number).astype(float)
        found.append([np.mean([run.of(times @ run.sums) for run in setting], axis=0) for setting in settings])
    return np.concatenate(found, axis=1)


def _chance(lead: Any) -> float:
    """The share of draws in which the best setting does not lead; one more, as a share of no draws proves nothing."""
    return float((1 + (lead <= 0).sum()) / (1 + len(lead)))


def holm(chances: Sequence[float], share: float = SHARE) -> list[bool]:
    """Which of several hypotheses are rejected, with a chance of at most `share` that any true one is (Holm 1979)."""
    rejected = [False] * len(chances)
    for turn, at in enumerate(sorted(range(len(chances)), key=lambda at: chances[at])):
        if chances[at] * (len(chances) - turn) > share:
            break
        rejected[at] = True
    return rejected
