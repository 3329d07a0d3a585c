"""Intervals of one score by drawing its samples again: a bootstrap within strata, corrected for bias and skewness.

A draw takes whole units (samples, sentences or groups) with replacement, as many from each stratum as it has. Ends are
the BCa quantiles (Efron 1987, doi:10.2307/2289144), at the wider levels of Student's t that make up for the small
variance of draws from few units (Hesterberg 2015, doi:10.1080/00031305.2015.1089789, "expanded percentile"). Shapes: U
units, S sums, B draws.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

from frostline.report.wilson import NORMAL, SHARE, student

DRAWS = 2000
LEAST_DRAWN = 50  # units from which coverage was measured (tests/report/test_score_intervals.py)
AT_ONCE = 4_000_000  # numbers drawn at a time
SHARED = 1_000_000  # numbers that the next run may use again, 8 MB
LEAST = 10  # units in a stratum; smaller strata are drawn together, as draws from few units vary too little
QUANTILES_FROM = 1000  # draws
SKEWNESS_FROM = 2000  # units
MOST_BIAS = 1.0  # standard deviations of the draws
SPARSE = 0.1  # share of sums that are not 0, below which sparse sums are faster

Array = Any  # numpy.ndarray
Score = Callable[[Array], Array]  # (B, S) sums → (B,) scores


class Sums(NamedTuple):
    """A score as a function of sums over units. sums: (U, S), an array or a sparse one. draws: as many as take about a
    second. least: units from which its interval can be trusted. rarest: of a mean over classes, the units that have
    the rarest one, and least_of_class how many these should be."""

    sums: Array
    of: Score
    draws: int = DRAWS
    least: int = LEAST_DRAWN
    rarest: int | None = None
    least_of_class: int = 5


def merged(strata: Array) -> Array:
    """(U,) index of the stratum of each unit, after those with fewer than LEAST units were joined."""
    import numpy as np

    _, own, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    small = sizes[own] < LEAST
    own[small] = -1 if small.sum() >= LEAST or not (~small).any() else own[~small][0]
    return np.unique(own, return_inverse=True)[1]


def times(strata: Array, draws: int, random: Any) -> Array:
    """(B, U): how often each unit is in each draw. strata: in ascending order."""
    import numpy as np

    sizes = np.bincount(strata)
    size = np.repeat(sizes, sizes).astype(np.float32)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    number = len(strata)
    chosen = np.minimum(random.random((draws, number), dtype=np.float32) * size, size - 1).astype(np.int64)
    chosen += first + np.arange(draws)[:, None] * number
    return np.bincount(chosen.ravel(), minlength=draws * number).reshape(draws, number).astype(float)


def drawn(scores: Sequence[Sums], strata: Array, seed: int = 0) -> list[Array]:
    """The values (B,) of each score in its draws. All scores share the draws."""
    import numpy as np

    order = np.argsort(strata, kind="stable")
    sums = [_sparse(own.sums[order]) for own in scores]
    found: list[list[Array]] = [[] for _ in scores]
    before = 0
    for weights in _draws(strata[order], seed):
        for own, score, values in zip(sums, scores, found, strict=True):
            if before < score.draws:
                values.append(score.of(np.asarray(weights[: score.draws - before] @ own)))
        before += len(weights)
    return [np.concatenate(values) for values in found]


def _draws(strata: Array, seed: int) -> Iterator[Array]:
    """`times` of all draws, a chunk after the other. Runs on the same small test split share theirs."""
    import numpy as np

    if DRAWS * len(strata) <= SHARED:
        yield _shared_draws(strata.tobytes(), str(strata.dtype), seed)
        return
    random = np.random.default_rng(seed)
    yield from (times(strata, rows, random) for rows in _chunks(len(strata)))


@lru_cache(maxsize=1)
def _shared_draws(strata: bytes, dtype: str, seed: int) -> Array:
    import numpy as np

    found = times(np.frombuffer(strata, dtype), DRAWS, np.random.default_rng(seed))
    found.flags.writeable = False
    return found


def _chunks(number: int) -> Iterator[int]:
    chunk = max(1, AT_ONCE // max(number, 1))
    for first in range(0, DRAWS, chunk):
        yield min(chunk, DRAWS - first)


def _sparse(sums: Array) -> Array:
    """Counts of many classes are mostly 0."""
    import numpy as np

    if not isinstance(sums, np.ndarray) or sums.shape[1] < 32 or np.count_nonzero(sums) > SPARSE * sums.size:
        return sums
    from scipy import sparse

    return sparse.csr_array(sums)


def influences(score: Sums, seed: int = 0) -> Array:
    """The influence of single units on the score, from the scores without each (jackknife), for at most SKEWNESS_FROM
    units. Empty for few draws, whose interval needs none."""
    import numpy as np

    sums, of = score.sums, score.of
    if score.draws < QUANTILES_FROM:
        return np.zeros(0)
    number, most = sums.shape[0], min(SKEWNESS_FROM, score.draws)
    total = sums.sum(0)
    if number > most:
        sums = sums[np.random.default_rng(seed).choice(number, most, replace=False)]
    rows = max(1, AT_ONCE // sums.shape[1])
    parts = (sums[at : at + rows] for at in range(0, sums.shape[0], rows))
    without = np.concatenate([of(total - (it if isinstance(it, np.ndarray) else it.toarray())) for it in parts])
    away: Array = without.mean() - without
    return away


def skewness(away: Array) -> float:
    """away: see `influences`."""
    spread = float((away**2).mean()) if len(away) else 0.0
    return 0.0 if not spread > 0 else float((away**3).mean() / spread**1.5)


def bounds(values: Array, score: float, skew: float, units: int, strata: int) -> tuple[float, float]:
    """95 % interval from the values (B,) of a score in draws. skew: see `skewness`. The correction for bias is at most
    MOST_BIAS: if a score lies at the end of its draws, a larger one would leave no interval. Of fewer than
    QUANTILES_FROM draws by their mean and deviation: their outer quantiles vary too much. These ends may lie beyond the
    range of a score."""
    import numpy as np

    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    left = max(units - strata, 1)
    reach = student(1 - SHARE / 2, left) * sqrt(units / left)
    if len(values) < QUANTILES_FROM:
        middle, spread = 2 * score - float(values.mean()), float(values.std())
        return middle - reach * spread, middle + reach * spread
    close = 1e-9 * max(1.0, abs(score))
    below = (values < score - close).mean() + (abs(values - score) <= close).mean() / 2
    bias = min(max(NORMAL.inv_cdf(min(max(float(below), 1e-9), 1 - 1e-9)), -MOST_BIAS), MOST_BIAS)
    bend = skew / (6 * sqrt(units))
    levels = []
    for z in (-reach, reach):
        room = 1 - bend * (bias + z)
        levels.append(NORMAL.cdf(bias + (bias + z) / room) if room > 0 else float(z > 0))
    low, high = np.quantile(values, levels)
    return float(low), float(high)
