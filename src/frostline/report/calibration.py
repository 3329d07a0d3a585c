"""How far probabilities can be believed: scores of confidence.

Shapes: N samples, K classes, B draws.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from frostline.report.resampling import Array
from frostline.report.sample_scores import classes_of
from frostline.report.wilson import SHARE
from frostline.runs.predictions import Predictions

BINS = 15  # of equal width, as in Guo et al. 2017, arXiv:1706.04599
DRAWS = 1000
AT_ONCE = 100_000  # numbers of a block


class Calibration(NamedTuple):
    """nll: mean negative log-likelihood. brier: mean squared distance from the true class, 0 to 2. ece: mean distance
    of accuracy and confidence over BINS. low, high: 95 % interval of ece."""

    nll: float
    brier: float
    ece: float
    low: float
    high: float


def classified(found: Predictions) -> tuple[Array, Array] | None:
    """Targets (N,) and logits (N, K) as they are stored, if each sample has one class and every logit is finite."""
    classes = classes_of(found.columns)
    if classes is None or "word" in found.columns or not len(classes[0]) or not_finite(found):
        return None
    return classes


def not_finite(found: Predictions) -> int:
    """Samples with an output that is NaN or infinite."""
    import numpy as np

    outputs = [found.columns[name] for name in ("logits", "predicted") if name in found.columns]
    floats = [own.reshape(len(own), -1) for own in outputs if own.dtype.kind == "f"]
    return max((int((~np.isfinite(own).all(1)).sum()) for own in floats), default=0)


def log_softmax(logits: Array) -> Array:
    """In float64."""
    import numpy as np

    own = shifted(logits)
    return own - np.log(np.exp(own).sum(1, keepdims=True))


def shifted(logits: Array) -> Array:
    """Logits below the highest of their sample."""
    found = logits.astype(float)
    return found - found.max(1, keepdims=True)


class Believed(NamedTuple):
    """(N,) each: probability of the answer, whether it is right (1.0 or 0.0), log-probability of the true class, and
    the sum of the squared probabilities of all classes."""

    confidence: Array
    right: Array
    log_true: Array
    squares: Array


def believed(target: Array, logits: Array, temperature: float = 1.0) -> Believed:
    import numpy as np

    confidence, log_true, squares = (np.empty(len(target)) for _ in range(3))
    for rows in blocks(logits):
        own = log_softmax(logits[rows].astype(float) / temperature)
        log_true[rows] = own[np.arange(len(own)), target[rows]]
        np.exp(own, out=own)
        confidence[rows], squares[rows] = own.max(1), np.einsum("nk,nk->n", own, own)
    return Believed(confidence, (logits.argmax(1) == target).astype(float), log_true, squares)


def blocks(logits: Array) -> Iterator[slice]:
    """Slices of rows that fit into the processor's cache: of 10,000 samples with 1,000 classes, whole arrays take five
    times as long."""
    rows = max(1, AT_ONCE // logits.shape[1])
    return (slice(first, first + rows) for first in range(0, len(logits), rows))


def binned(target: Array, logits: Array, temperature: float = 1.0) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of samples of each bin that has some."""
    import numpy as np

    found = believed(target, logits, temperature)
    where = _bins_of(found.confidence)
    counts, sums, hits = (np.bincount(where, weights, BINS) for weights in (None, found.confidence, found.right))
    return [
        (float(sums[at] / counts[at]), float(hits[at] / counts[at]), int(counts[at])) for at in np.flatnonzero(counts)
    ]


def confidence_of(target: Array, logits: Array, temperature: float = 1.0) -> tuple[Array, Array]:
    """(N,) probability of each answer, and whether it is right: 1.0 or 0.0."""
    return believed(target, logits, temperature)[:2]


def _bins_of(confidence: Array) -> Array:
    import numpy as np

    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def examined(found: Believed, seed: int = 0) -> Calibration:
    """Scores of `believed`. seed: of the draws of the interval."""
    import numpy as np

    number = len(found.right)
    gaps = np.zeros((number, BINS))
    gaps[np.arange(number), _bins_of(found.confidence)] = found.right - found.confidence
    ece = float(np.abs(gaps.sum(0)).sum() / number)
    low, high = _interval(gaps, seed)
    brier = float((found.squares - 2 * np.exp(found.log_true) + 1).mean())
    return Calibration(-float(found.log_true.mean()), brier, ece, low, high)


def _counts(random: Any, number: int) -> Array:
    """(DRAWS, N) how often each sample is drawn. `multinomial` takes more than twice as long."""
    import numpy as np

    drawn = random.integers(number, size=(DRAWS, number)) + number * np.arange(DRAWS)[:, None]
    return np.bincount(drawn.ravel(), minlength=DRAWS * number).reshape(DRAWS, number)


def _interval(gaps: Array, seed: int) -> tuple[float, float]:
    """Basic bootstrap: ECE is a sum of absolute values, so that draws lie above the score as the score lies above the
    truth. Of many samples, Poisson counts stand for multinomial ones."""
    import numpy as np

    random, number = np.random.default_rng(seed), len(gaps)
    small = number <= 2000
    rows = [_counts(random, number)] if small else (random.poisson(1.0, (50, number)) for _ in range(DRAWS // 50))
    values = np.concatenate([np.abs(own @ gaps).sum(1) / own.sum(1) for own in rows])
    score = float(np.abs(gaps.sum(0)).sum() / number)
    ends = np.quantile(values, [1 - SHARE / 2, SHARE / 2])
    low, high = (max(0.0, float(2 * score - end)) for end in ends)
    return min(low, score), max(high, score)
