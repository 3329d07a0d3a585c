"""Whether a setting loses against the best of many, by the ranks of their runs with each seed.

If settings were equal, each order of them would be equally likely with each seed: orders drawn at random tell how often
a setting lies so far behind the best of as many rivals by chance (a permutation test of Friedman's ranks, 1937).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

DRAWS = 20_000


def chance_of(rivals: Sequence[Sequence[float]], own: Sequence[float]) -> float:
    """How often a setting lies at least so far behind the best of its rivals if all are equal. rivals: one or more, of
    each its values by seed, like `own`; lower is better."""
    from scipy.stats import rankdata

    ranks = rankdata([own, *rivals], axis=0)  # settings x seeds
    behind = ranks[0].sum() - ranks[1:].sum(axis=1).min()
    drawn = _drawn(tuple(tuple(np.sort(seed).tolist()) for seed in ranks.T))
    at_least = len(drawn) - int(np.searchsorted(drawn, behind - 1e-9))
    return (at_least + 1) / (len(drawn) + 1)


@cache
def _drawn(ranks: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """How far a setting lies behind the best other one in random orders, ascending. ranks: of each seed."""
    generator = np.random.default_rng(0)  # the same decisions in every process
    sums = np.zeros((DRAWS, len(ranks[0])))
    for seed in ranks:
        sums += generator.permuted(np.tile(np.asarray(seed), (DRAWS, 1)), axis=1)
    return np.sort(sums[:, 0] - sums[:, 1:].min(axis=1))
