"""Scores as functions of sums over samples, from a run's stored predictions, so that they can be drawn again.

Shapes: N samples, K classes, T numbers, S sums, B draws.
"""

from collections.abc import Callable, Mapping, Sequence
from os.path import commonprefix
from typing import Any, NamedTuple

from frostline.report.resampling import Score, Sums
from frostline.runs.predictions import Predictions

MOST = 50_000_000  # numbers (N x S) for which there is room
AT_ONCE = 100_000  # numbers of a block, which fits into the processor's cache
SPARSE_FROM = 32  # classes from which counts of classes are sparse arrays
CLOSE = 1e-3  # a score that differs by a larger share from the recorded one is not what the run measured
ROUNDED = 1e-6  # by which scores near 0 may differ, too

Array = Any  # numpy.ndarray: importing numpy costs 0.1 s, which a command line that is refused need not pay


class SampleScore(NamedTuple):
    """samples: what identifies them, in their order. score: of sums (N, S) over samples, an array or a sparse one
    (`scipy.sparse.csr_array`)."""

    samples: tuple[str, ...]
    score: Sums

    @property
    def sums(self) -> Array:
        return self.score.sums

    @property
    def of(self) -> Score:
        return self.score.of

    def by_unit(self, sums: Array) -> Sums:
        """The same score of sums (U, S) over larger units."""
        return self.score._replace(sums=sums)

    @property
    def value(self) -> float:
        return float(self.of(self.sums.sum(0)[None])[0])


def sample_score(found: Predictions, name: str) -> SampleScore | None:
    """The score `name`, such as val/accuracy. None if it is no function of sums over samples, if the predictions do not
    determine it, or if it is not the score that the run recorded for them."""
    import numpy as np

    make = SCORES.get(name.partition("/")[2])
    made = None if make is None else make(found.columns)
    recorded = found.about.get("scores", {}).get(name)
    if made is None or recorded is None:
        return None
    sums = made.sums
    if sums.size > MOST or not np.isfinite(sums.data if is_sparse(sums) else sums).all():
        return None
    names, first, rows = samples_of(found.columns)
    if "word" in found.columns:  # a sample has a row for each word
        sums = added(sums, rows, len(first))
    elif len(first) == len(rows):
        sums = sums[first]
    else:
        return None
    score = SampleScore(tuple(names), made._replace(sums=sums))
    return score if abs(score.value - recorded) <= CLOSE * abs(recorded) + ROUNDED else None


def samples_of(columns: Mapping[str, Array]) -> tuple[list[str], Array, Array]:
    """What identifies each sample, in the order of their index, the first row of each (N,), and the sample of each row
    (R,)."""
    import numpy as np

    index = columns["index"]
    _, first, rows = np.unique(index, return_index=True, return_inverse=True)
    names = _within_their_folder([str(columns["sample"][at]) for at in first])
    return [f"{it} {index[at]}" for it, at in zip(names, first, strict=True)], first, rows


def _within_their_folder(names: list[str]) -> list[str]:
    """Names without the folders that all of them begin with. A run that is scored again has the whole paths of its
    samples, where it was trained on data/pictures."""
    if not names:
        return []
    ends = min(names), max(names)  # between which all others lie
    start = commonprefix(ends).rpartition("/")[0]  # noqa: RUF071
    return [name.removeprefix(f"{start}/") for name in names] if start else names


def is_sparse(sums: Array) -> bool:
    import numpy as np

    return not isinstance(sums, np.ndarray)


def added(sums: Array, rows: Array, number: int) -> Array:
    """(N, S) → (number, S): sums over the samples of one unit. rows: (N,) the unit of each."""
    import numpy as np

    if is_sparse(sums):
        from scipy import sparse

        return sparse.csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), (number, len(rows))) @ sums
    whole = np.zeros((number, sums.shape[1]))
    np.add.at(whole, rows, sums)
    return whole


def beside(sums: Sequence[Array]) -> Array:
    """(N, S) of each → (N, all of S)."""
    import numpy as np

    if not any(is_sparse(own) for own in sums):
        return np.concatenate(sums, axis=1)
    from scipy import sparse

    return sparse.hstack([sparse.csr_array(own) for own in sums], format="csr")


def classes_of(columns: Mapping[str, Array]) -> tuple[Array, Array] | None:
    """Targets (R,) and logits (R, K), if each row has one class: a sample, or a word of one."""
    target, logits = columns.get("target"), columns.get("logits")
    if target is None or logits is None or target.ndim != 1 or logits.ndim != 2 or logits.shape[1] < 2:
        return None
    return target.astype(int), logits


def _top(best: int) -> Callable[[Mapping[str, Array]], Sums | None]:
    def accuracy(columns: Mapping[str, Array]) -> Sums | None:
        import numpy as np

        found = classes_of(columns)
        if found is None:
            return None
        target, logits = found
        own = logits[np.arange(len(target)), target]
        right = (logits > own[:, None]).sum(1) < best
        if best == 1:
            right = logits.argmax(1) == target
        return _mean(right.astype(float))

    return accuracy


def _cross_entropy(columns: Mapping[str, Array]) -> Sums | None:
    import numpy as np

    found = classes_of(columns)
    if found is None:
        return None
    target, logits = found
    each = np.empty(len(target))
    rows = max(1, AT_ONCE // logits.shape[1])
    for at in range(0, len(target), rows):
        shifted = logits[at : at + rows].astype(float)
        shifted -= shifted.max(1, keepdims=True)
        own = shifted[np.arange(len(shifted)), target[at : at + rows]]
        each[at : at + rows] = np.log(np.exp(shifted, out=shifted).sum(1)) - own
    return _mean(each)


def _f1_macro(columns: Mapping[str, Array]) -> Sums | None:
    """The mean over the classes that are a target or an answer of some sample of all."""
    import numpy as np

    found = classes_of(columns)
    if found is None:
        return None
    target, logits = found
    given, number = logits.argmax(1), logits.shape[1]
    rarest = None if "word" in columns else rarest_of(np.bincount(target))
    counted = np.zeros(number, bool)
    counted[target] = counted[given] = True
    sums = _counts(target, given, number)

    def of(total: Array) -> Array:
        right, truth, answers = np.split(total, 3, axis=1)
        return mean_of_present(2 * right[:, counted], (truth + answers)[:, counted])

    return Sums(sums, of, rarest=rarest)


def _counts(target: Array, given: Array, number: int) -> Array:
    """(N, 3 * number) counts of right answers, of targets and of answers, by class. Of many classes they are sparse."""
    import numpy as np

    if number < SPARSE_FROM:
        classes = np.arange(number)
        true, answered = target[:, None] == classes, given[:, None] == classes
        return np.concatenate([true & answered, true, answered], axis=1).astype(float)
    from scipy import sparse

    right = np.flatnonzero(target == given)
    every = np.arange(len(target))
    rows = np.concatenate([right, every, every])
    columns = np.concatenate([target[right], target + number, given + 2 * number])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), (len(target), 3 * number))


def _numbers(columns: Mapping[str, Array]) -> tuple[Array, Array] | None:
    """Targets and predictions, (N, T)."""
    target, predicted = columns.get("target"), columns.get("predicted")
    if target is None or predicted is None or target.dtype.kind != "f" or target.shape != predicted.shape:
        return None
    return target.reshape(len(target), -1).astype(float), predicted.reshape(len(target), -1).astype(float)


def _root(columns: Mapping[str, Array]) -> Sums | None:
    import numpy as np

    found = _numbers(columns)
    if found is None:
        return None
    squares = (found[0] - found[1]) ** 2
    sums = np.concatenate([np.ones((len(squares), 1)), squares], axis=1)
    return Sums(sums, lambda total: ((total[:, 1:] / np.maximum(total[:, :1], 1)) ** 0.5).mean(1))


def _error(power: int) -> Callable[[Mapping[str, Array]], Sums | None]:
    def error(columns: Mapping[str, Array]) -> Sums | None:
        found = _numbers(columns)
        return None if found is None else _mean((abs(found[0] - found[1]) ** power).mean(1))

    return error


def _r2(columns: Mapping[str, Array]) -> Sums | None:
    import numpy as np

    found = _numbers(columns)
    if found is None:
        return None
    target, predicted = found
    around = target - target.mean(0)  # the same score, with less loss of digits
    ones = np.ones((len(target), 1))

    def of(total: Array) -> Array:
        number, rest = total[:, :1], total[:, 1:]
        first, second, errors = np.split(rest, 3, axis=1)
        spread = second - first**2 / number
        return (1 - errors / np.where(spread > 0, spread, np.nan)).mean(1)

    return Sums(np.concatenate([ones, around, around**2, (target - predicted) ** 2], axis=1), of)


def rarest_of(counts: Array) -> int | None:
    """counts: (K,) units that have each class. The smallest of those that occur."""
    return int(counts[counts > 0].min()) if (counts > 0).any() else None


def mean_of_present(above: Array, below: Array) -> Array:
    """(B, K), (B, K) → (B,): the mean of the ratios over the classes that a draw holds. A rare class that few draws
    miss has no score in these; 0 would lower the interval."""
    import numpy as np

    ratios = np.where(below > 0, above / np.where(below > 0, below, 1), 0)
    return ratios.sum(1) / np.maximum((below > 0).sum(1), 1)


def ratio(above: Array, below: Array) -> Sums:
    """(N,), (N,)."""
    import numpy as np

    sums = np.stack([above, below], axis=1).astype(float)
    return Sums(sums, lambda total: total[:, 0] / np.maximum(total[:, 1], 1e-12))


def _mean(points: Array) -> Sums:
    import numpy as np

    return ratio(points, np.ones(len(points)))


SCORES: dict[str, Callable[[Mapping[str, Array]], Sums | None]] = {
    "accuracy": _top(1),
    "accuracy_top5": _top(5),
    "loss": _cross_entropy,
    "f1_macro": _f1_macro,
    "mse": _error(2),
    "rmse": _root,
    "mae": _error(1),
    "r2": _r2,
}
