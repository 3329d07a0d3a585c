"""Wilson's interval of a share, and quantiles that intervals need. Standard library alone."""

from math import sqrt
from statistics import NormalDist

SHARE = 0.05  # of intervals that miss the true score
NORMAL = NormalDist()


def wilson(right: float, number: int, share: float = SHARE) -> tuple[float, float]:
    """95 % interval of a share of `number` samples, `right` of which are right (Wilson 1927, doi:10.2307/2276774)."""
    z = NORMAL.inv_cdf(1 - share / 2)
    rate, own = right / number, z * z / number
    middle = (rate + own / 2) / (1 + own)
    half = z * sqrt(rate * (1 - rate) / number + own / (4 * number)) / (1 + own)
    low = 0.0 if right <= 0 else max(0.0, middle - half)  # exactly: rounding leaves 1e-18
    return low, 1.0 if right >= number else min(1.0, middle + half)


def student(probability: float, freedom: int) -> float:
    """Quantile of Student's t with `freedom` degrees, to 1e-3 from 10 degrees on (Cornish-Fisher expansion,
    Abramowitz and Stegun 26.7.5)."""
    z, n = NORMAL.inv_cdf(probability), max(freedom, 1)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3
