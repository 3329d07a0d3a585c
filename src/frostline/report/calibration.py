"""How far probabilities can be believed: scores of confidence, and the temperature that mends them.

Shapes: N samples, K classes, B draws.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError
from frostline.report.resampling import Array
from frostline.report.wilson import SHARE
from frostline.runs.predictions import Predictions, file_of, read

BINS = 15  # of equal width, as in Guo et al. 2017, arXiv:1706.04599
DRAWS = 1000
LOWEST, HIGHEST = 0.05, 20.0  # temperatures


class Calibration(NamedTuple):
    """nll: mean negative log-likelihood. brier: mean squared distance from the true class, 0 to 2. ece: mean distance
    of accuracy and confidence over BINS. low, high: 95 % interval of ece."""

    nll: float
    brier: float
    ece: float
    low: float
    high: float


def classified(found: Predictions) -> tuple[Array, Array] | None:
    """Targets (N,) and logits (N, K), if each sample has one class."""
    columns: Mapping[str, Array] = found.columns
    target, logits = columns.get("target"), columns.get("logits")
    if target is None or logits is None or "word" in columns or target.ndim != 1 or logits.ndim != 2:
        return None
    return (target.astype(int), logits.astype(float)) if logits.shape[1] > 1 and len(target) else None


def log_softmax(logits: Array) -> Array:
    import numpy as np

    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def nll(target: Array, logits: Array, temperature: float = 1.0) -> float:
    return float(-log_softmax(logits / temperature)[range(len(target)), target].mean())


def fitted(target: Array, logits: Array) -> float:
    """The temperature by which logits are to be divided for the lowest negative log-likelihood (Guo et al. 2017), to
    1e-4. The likelihood has one peak in 1 / temperature, which a golden-section search finds."""
    low, high, golden = 1 / HIGHEST, 1 / LOWEST, (5**0.5 - 1) / 2
    while high - low > 1e-4 * low:
        one, other = high - golden * (high - low), low + golden * (high - low)
        if nll(target, logits, 1 / one) < nll(target, logits, 1 / other):
            high = other
        else:
            low = one
    return 2 / (low + high)


def binned(target: Array, logits: Array, temperature: float = 1.0) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of samples of each bin that has some."""
    import numpy as np

    confidence, right, where = _confidence(target, logits, temperature)
    counts, sums, hits = (np.bincount(where, weights, BINS) for weights in (None, confidence, right))
    return [
        (float(sums[at] / counts[at]), float(hits[at] / counts[at]), int(counts[at])) for at in np.flatnonzero(counts)
    ]


def _confidence(target: Array, logits: Array, temperature: float) -> tuple[Array, Array, Array]:
    import numpy as np

    shares = np.exp(log_softmax(logits / temperature))
    confidence = shares.max(1)
    return confidence, (logits.argmax(1) == target).astype(float), np.minimum((confidence * BINS).astype(int), BINS - 1)


def calibration(target: Array, logits: Array, temperature: float = 1.0, seed: int = 0) -> Calibration:
    import numpy as np

    shares = np.exp(log_softmax(logits / temperature))
    away = shares.copy()
    away[np.arange(len(target)), target] -= 1
    confidence, right, where = _confidence(target, logits, temperature)
    gaps = np.zeros((len(target), BINS))
    gaps[np.arange(len(target)), where] = right - confidence
    ece = float(np.abs(gaps.sum(0)).sum() / len(target))
    low, high = _interval(gaps, seed)
    return Calibration(nll(target, logits, temperature), float((away**2).sum(1).mean()), ece, low, high)


def _interval(gaps: Array, seed: int) -> tuple[float, float]:
    """Basic bootstrap: ECE is a sum of absolute values, so that draws lie above the score as the score lies above the
    truth. Of many samples, Poisson counts stand for multinomial ones."""
    import numpy as np

    random, number = np.random.default_rng(seed), len(gaps)
    weights = random.multinomial(number, np.full(number, 1 / number), DRAWS) if number <= 2000 else None
    rows = [weights] if weights is not None else (random.poisson(1.0, (50, number)) for _ in range(DRAWS // 50))
    values = np.concatenate([np.abs(own @ gaps).sum(1) / own.sum(1) for own in rows])
    score = float(np.abs(gaps.sum(0)).sum() / number)
    ends = np.quantile(values, [1 - SHARE / 2, SHARE / 2])
    low, high = (max(0.0, float(2 * score - end)) for end in ends)
    return min(low, score), max(high, score)


def recorded_calibration(folder: Path) -> dict[str, Any]:
    """`recorded` of the run in `folder`; empty if it stored no predictions of its test split."""
    if not (folder / file_of("test")).is_file():
        return {}
    try:
        return recorded(read(folder, "val") if (folder / file_of("val")).is_file() else None, read(folder, "test"))
    except RunError as error:
        print(f"frostline: the probabilities are not examined: {error.what}", file=sys.stderr)
        return {}


def recorded(val: Predictions | None, test: Predictions) -> dict[str, Any]:
    """Entry of run.json: scores of the test part, raw and, where validation has predictions too, with the temperature
    that is fitted on them. Empty if samples have no single class."""
    if (own := classified(test)) is None:
        return {}
    found: dict[str, Any] = {"raw": calibration(*own)._asdict(), "temperature": None, "calibrated": None}
    held = None if val is None else classified(val)
    if held is not None:
        temperature = fitted(*held)
        found |= {"temperature": temperature, "calibrated": calibration(*own, temperature)._asdict()}
    return found
