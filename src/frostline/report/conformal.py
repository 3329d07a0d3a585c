"""Split conformal prediction: sets of classes and intervals of numbers that hold the truth in a given share of samples,
whatever the network (Vovk et al. 2005; Lei et al. 2018, doi:10.1080/01621459.2017.1307116).

Shapes: N samples, K classes, T numbers.
"""

from math import ceil
from typing import Any

Array = Any  # numpy.ndarray

ROUNDING = 1e-5  # relative, of probabilities in float32


def quantile(scores: Array, miss: float) -> float | None:
    """The score that a further sample exceeds with a probability of at most `miss`: of N scores the ⌈(N + 1)(1 -
    miss)⌉-th. None if that is more than N."""
    import numpy as np

    place = ceil((len(scores) + 1) * (1 - miss) - 1e-9)
    return None if place > len(scores) else float(np.partition(scores, place - 1)[place - 1])


def least_miss(number: int) -> float:
    """The smallest `miss` for which N scores have a quantile."""
    return 1 / (number + 1)


def least_probability(target: Array, probabilities: Array, miss: float) -> float | None:
    """The probability from which a class belongs to the set of a sample (LAC: Sadinle et al. 2019,
    doi:10.1080/01621459.2017.1395341, the smallest sets on average). target: (N,). probabilities: (N, K)."""
    import numpy as np

    own = quantile(1 - probabilities[np.arange(len(target)), target], miss)
    return None if own is None else (1 - own) * (1 - ROUNDING)


def half_widths(target: Array, predicted: Array, miss: float) -> list[float] | None:
    """Half the width of the interval around each number, for each number alone. target, predicted: (N, T), finite."""
    import numpy as np

    found = [quantile(column, miss) for column in np.abs(target - predicted).T]
    return None if any(own is None for own in found) else [own for own in found if own is not None]
