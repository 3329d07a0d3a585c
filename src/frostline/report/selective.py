"""Answer only where the network is sure enough: the error rate of the answers that are left, and the threshold that
bounds it.

Shapes: N samples.
"""

from math import ceil, log2
from typing import Any, NamedTuple

Array = Any  # numpy.ndarray

DOUBT = 0.05  # probability with which the bound of a threshold may fail
SHOWN = 20  # coverages in run.json
RATES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # error rates that are proposed


class Threshold(NamedTuple):
    """value: the least confidence of an answer. coverage, error: the share of the validation samples that are answered,
    and the share of wrong ones among them. bound: the upper bound of the error rate, exceeded with a probability of at
    most DOUBT."""

    value: float
    coverage: float
    error: float
    bound: float


def errors_by_coverage(confidence: Array, right: Array) -> tuple[Array, Array]:
    """(N,) shares of the samples that are answered, the most confident first, and error rates among them. Samples of
    one confidence count as the mean of their errors each, so that their order does not matter."""
    import numpy as np

    order = np.argsort(-confidence, kind="stable")
    _, group, sizes = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    wrong = (np.bincount(group, 1 - right[order]) / sizes)[group]
    number = np.arange(1, len(wrong) + 1)
    return number / len(wrong), wrong.cumsum() / number


def selective(confidence: Array, right: Array) -> dict[str, Any]:
    """Entry of run.json: `error` rates at SHOWN values of `coverage`, and their mean over all coverages (`aurc`: area
    under the curve of risk over coverage)."""
    coverages, errors = errors_by_coverage(confidence, right)
    rows = [ceil(len(errors) * turn / SHOWN) - 1 for turn in range(1, SHOWN + 1)]
    return {
        "coverage": [float(coverages[row]) for row in dict.fromkeys(rows)],
        "error": [float(errors[row]) for row in dict.fromkeys(rows)],
        "aurc": float(errors.mean()),
    }


def upper_bound(wrong: int, number: int, doubt: float) -> float:
    """The error rate that is exceeded with a probability of at most `doubt`, if `wrong` of `number` samples are wrong
    (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404, one-sided)."""
    from scipy.stats import beta

    return 1.0 if wrong >= number else float(beta.ppf(1 - doubt, wrong + 1, number - wrong))


def threshold_of(confidence: Array, right: Array, most: float, doubt: float = DOUBT) -> Threshold | None:
    """The threshold by which the most samples are answered with an error rate of `most`; None if there is none.

    Selection with guaranteed risk (Geifman and El-Yaniv 2017, arXiv:1705.08500, algorithm 1): a binary search over the
    N confidences, whose ⌈log2 N⌉ bounds hold together with a probability of 1 - doubt. The proof takes samples that
    chose nothing else, and an error rate that does not fall as more samples are answered. confidence: any number that
    is higher where an answer is surer, computed here as it is where answers are given, rounding included.
    """
    import numpy as np

    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, wrong = confidence[order], (1 - right[order]).cumsum()
    number = len(order)
    turns = max(1, ceil(log2(number)))
    low, high, best = 0, number, None  # samples that are answered: `low` is safe, more than `high` is not
    for turn in range(turns):
        tried = number if turn == 0 else (low + high + 1) // 2
        value = float(sorted_confidence[tried - 1])
        answered = int(np.searchsorted(-sorted_confidence, -value, side="right"))  # with equal ones
        errors = int(wrong[answered - 1])
        bound = upper_bound(errors, answered, doubt / turns)
        if bound <= most:
            best = Threshold(value, answered / number, errors / answered, bound)
            low = answered
        else:
            high = tried - 1
        if low >= high:
            break
    return best


def least_rate(confidence: Array, right: Array, above: float) -> float | None:
    """The lowest of RATES above `above` for which there is a threshold; None if there is none."""
    return next((rate for rate in RATES if rate > above and threshold_of(confidence, right, rate) is not None), None)
