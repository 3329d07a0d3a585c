"""Gaps of rates between the values of a column, tested against permutations of the values.

The gap between the highest and the lowest of several rates is above 0 by chance, and its bootstrap interval excludes 0.
Hence its p-value: the share of permutations of the values over the samples with a gap as large (Phipson and Smyth 2010,
doi:10.2202/1544-6115.1585). Shapes: N samples, U units, V values.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from frostline.errors import counted
from frostline.report.resampling import Array, Score
from frostline.report.score_intervals import LEAST_SHARED, Units
from frostline.report.wilson import SHARE

PERMUTATIONS = 999
CLOSE = 1e-9  # by which equal gaps differ through rounding


class Rate(NamedTuple):
    """sums: (N, S). of: (B, S) sums → (B,) rates. counts: (N,) bool, the samples that have a part in it."""

    sums: Array
    of: Score
    counts: Array


def gap_of(rates: Sequence[Rate], values: Array, units: Units) -> dict[str, Any] | None:
    """The largest of the gaps of `rates`: `gap`, `p`, and `caution`, why not to trust it, else "". values: (N,) index
    of the value of each sample. Values without samples that count are left out. None if fewer than two have any.

    Whole units are permuted within their strata; the samples of a unit that has several values, within the unit."""
    import numpy as np

    rates = [rate for rate in rates if len(np.unique(values[rate.counts])) > 1]
    if not rates:
        return None
    found = _largest(rates, values)
    as_large = sum(_largest(rates, own) >= found - CLOSE for own in _permuted(values, units))
    p = (1 + as_large) / (1 + PERMUTATIONS)
    return {"gap": found, "p": float(p), "caution": _caution(rates, values, units)}


def gap_words(gap: Mapping[str, Any]) -> str:
    """The gap with what is known of it; the gap alone for a run of an earlier version, whose intervals were wrong."""
    if "p" not in gap:
        return f"{gap['gap']:.4f}"
    chance = ", no larger than by chance" if gap["p"] > SHARE else ""
    few = f"; do not trust it: {gap['caution']}" if gap["caution"] else ""
    return f"{gap['gap']:.4f} (p = {gap['p']:.3f}{chance}{few})"


def _largest(rates: Sequence[Rate], values: Array) -> float:
    import numpy as np

    gaps = []
    for rate in rates:
        number = int(values.max()) + 1
        sums = np.stack([np.bincount(values, own, number) for own in rate.sums.T], axis=1)
        scores = rate.of(sums)[np.bincount(values[rate.counts], minlength=number) > 0]
        gaps.append(float(np.ptp(scores)))
    return max(gaps)


def _permuted(values: Array, units: Units) -> Iterator[Array]:
    """(N,) values, PERMUTATIONS times."""
    import numpy as np

    random = np.random.default_rng(0)
    lowest = np.full(units.number, values.max())
    highest = np.zeros_like(lowest)
    np.minimum.at(lowest, units.of, values)
    np.maximum.at(highest, units.of, values)
    whole = np.flatnonzero(lowest == highest)
    rest = np.flatnonzero((lowest != highest)[units.of])
    for _ in range(PERMUTATIONS):
        of_units = lowest.copy()
        of_units[whole] = lowest[whole][_order(units.strata[whole], random)]
        own = of_units[units.of]
        own[rest] = values[rest][_order(units.of[rest], random)]
        yield own


def _order(blocks: Array, random: Any) -> Array:
    """(N,) a permutation that leaves each sample in its block."""
    import numpy as np

    if not len(blocks) or (blocks == blocks[0]).all():
        return random.permutation(len(blocks))
    order = np.empty(len(blocks), int)
    order[np.argsort(blocks, kind="stable")] = np.lexsort((random.random(len(blocks)), blocks))
    return order


def _caution(rates: Sequence[Rate], values: Array, units: Units) -> str:
    import numpy as np

    pairs = [np.unique(np.stack([values, units.of])[:, rate.counts], axis=1) for rate in rates]
    numbers = [np.bincount(own[0], minlength=int(values.max()) + 1) for own in pairs]
    few = min(int(own[own > 0].min()) for own in numbers)
    none = sum(int((own == 0).sum()) for own in numbers)
    reasons = [f"only {counted(few, *units.names)}"] if few < LEAST_SHARED else []
    reasons += [f"{counted(none, 'value', 'values')} without any left out"] if none else []
    return ", ".join(reasons)
