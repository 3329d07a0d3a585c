"""How far probabilities can be believed: scores of confidence, and the temperature that corrects them.

Shapes: N samples, K classes, B draws.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError, counted
from frostline.report.resampling import Array
from frostline.report.sample_scores import classes_of
from frostline.report.selective import selective
from frostline.report.wilson import SHARE
from frostline.runs.predictions import Predictions, file_of, read

BINS = 15  # of equal width, as in Guo et al. 2017, arXiv:1706.04599
DRAWS = 1000
LOWEST, HIGHEST = 0.05, 20.0  # temperatures
NEAR = 1e-3  # of a bound, relative: the steps of a fit come close to it and do not reach it
MOST_STEPS = 100
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

    shifted = _shifted(logits)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _shifted(logits: Array) -> Array:
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


def fitted(target: Array, logits: Array) -> float:
    """The temperature by which logits are to be divided for the lowest negative log-likelihood (Guo et al. 2017), to a
    relative 1e-5.

    The true class counts 1 - 1 / (N + 2), and the most probable other one the rest: Platt's correction (1999, section
    2.2). Without it, N samples that are all right would have the temperature 0, which makes every answer certain. The
    likelihood is concave in 1 / temperature, so Newton's steps find its peak.
    """
    import numpy as np

    wanted, low, high, now = _wanted(target, logits), 1 / HIGHEST, 1 / LOWEST, 1.0
    for _ in range(MOST_STEPS):
        mean, curvature = 0.0, 0.0
        for rows in blocks(logits):
            shifted = _shifted(logits[rows])
            shares = np.exp(now * shifted)
            total = shares.sum(1)
            shares *= shifted
            means = shares.sum(1) / total
            mean += float(means.sum())
            curvature += float((np.einsum("nk,nk->n", shares, shifted) / total - means**2).sum())
        slope, curvature = wanted - mean / len(target), curvature / len(target)
        low, high = (now, high) if slope > 0 else (low, now)
        newton = now + slope / curvature if curvature > 0 else 0.0
        before, now = now, newton if low < newton < high else (low * high) ** 0.5
        if abs(now - before) <= 1e-5 * before:
            break
    return 1 / now


def at_bound(temperature: float) -> str:
    """A clause for the user if a better temperature may lie outside of those that are tried; else ""."""
    if temperature >= HIGHEST * (1 - NEAR):
        return f"the highest that is tried ({HIGHEST:g}): the network may know nothing of these samples"
    if temperature <= LOWEST * (1 + NEAR):
        return f"the lowest that is tried ({LOWEST:g}): the probabilities may still be too low"
    return ""


def _wanted(target: Array, logits: Array) -> float:
    """The mean logit, below the highest of its sample, that the likelihood asks for."""
    import numpy as np

    total, doubt = 0.0, 1 / (len(target) + 2)
    for rows in blocks(logits):
        own = _shifted(logits[rows])
        place = np.arange(len(own)), target[rows]
        total += (1 - doubt) * float(own[place].sum())
        own[place] = -np.inf
        total += doubt * float(own.max(1).sum())
    return total / len(target)


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
    """`recorded` of the run in `folder`; empty if it stored no predictions."""
    try:
        val, test = (read(folder, split) if (folder / file_of(split)).is_file() else None for split in ("val", "test"))
    except RunError as error:
        print(f"frostline: the probabilities are not examined: {error.what}", file=sys.stderr)
        return {}
    return recorded(val, test)


def _examinable(found: Predictions) -> tuple[Array, Array] | None:
    """`classified`; print why not, if logits are not finite."""
    classes = classified(found)
    missing = 0 if classes is not None or "word" in found.columns else not_finite(found)
    if missing and classes_of(found.columns) is not None:
        number = counted(missing, "sample has", "samples have")
        split = {"val": "validation", "test": "the test split"}.get(found.about.get("part", ""), "the split")
        print(
            f"frostline: the probabilities of {split} are not examined: {number} logits that are not finite",
            file=sys.stderr,
        )
    return classes


def recorded(val: Predictions | None, test: Predictions | None) -> dict[str, Any]:
    """Entry of run.json: the `temperature`, fitted on so many `samples` of validation, the scores of the test split
    `raw` and `calibrated` by it, and `selective`, the error rate by coverage (`selective.py`). None where the
    predictions lack; empty if samples have no single class."""
    held, own = (None if found is None else _examinable(found) for found in (val, test))
    if held is None and own is None:
        return {}
    temperature = None if held is None else fitted(*held)
    if temperature is not None and (bound := at_bound(temperature)):
        print(f"frostline: the temperature of the probabilities is {bound}", file=sys.stderr)
    found: dict[str, Any] = {"temperature": temperature, "samples": 0 if held is None else len(held[0])}
    found |= {"raw": None, "calibrated": None, "selective": None}
    if own is not None:
        raw = believed(*own)
        used = raw if temperature is None else believed(*own, temperature)
        found |= {"raw": examined(raw)._asdict(), "selective": selective(used.confidence, used.right)}
        found |= {} if temperature is None else {"calibrated": examined(used)._asdict()}
    return found
