"""Further scores as functions of sums over samples, beside those by which a sweep is ranked (`sample_scores`).

Shapes: R rows, K labels or classes, T numbers, S sums, U samples.
"""

from collections.abc import Callable, Mapping
from itertools import groupby
from math import isfinite
from typing import Any

from frostline.report.box_precision import BOX_SCORES
from frostline.report.declared_scores import stored_score
from frostline.report.label_precision import label_precision
from frostline.report.resampling import Sums
from frostline.report.sample_scores import (
    CLOSE,
    MOST,
    SampleScore,
    added,
    mean_of_present,
    rarest_of,
    ratio,
    sample_score,
    samples_of,
)
from frostline.runs.predictions import Predictions

Array = Any  # numpy.ndarray
HALF = 0.0  # a logit whose probability is the usual threshold, 0.5


def parts_of(found: Predictions, name: str) -> SampleScore | None:
    """The score `name`, such as test/f1, as sums over samples. None if it is no such function, or is not what the run
    recorded: predictions do not tell a threshold other than 0.5, for example."""
    known = sample_score(found, name)
    recorded = found.about.get("scores", {}).get(name)
    if known is not None or recorded is None or not isfinite(recorded):
        return known
    own = name.partition("/")[2]
    for make in (stored_score(own), *SCORES.get(own, ())):
        made = make(found.columns, found.about)
        if made is not None and made.sums.size <= MOST:
            score = _by_sample(found.columns, made)
            if abs(score.value - recorded) <= CLOSE * max(1.0, abs(recorded)):
                return score
    return None


def _by_sample(columns: Mapping[str, Array], made: Sums) -> SampleScore:
    names, first, rows = samples_of(columns)
    return SampleScore(tuple(names), made._replace(sums=added(made.sums, rows, len(first))))


# --- labels: each sample has a target of 0 or 1 for each ---


def _labels(columns: Mapping[str, Array]) -> tuple[Array, Array] | None:
    target, logits = columns.get("target"), columns.get("logits")
    if target is None or logits is None or target.ndim != 2 or target.shape != logits.shape:
        return None
    return target > 0.5, logits.astype(float)


def _binary_loss(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    import numpy as np

    if (found := _labels(columns)) is None:
        return None
    target, logits = found
    each = np.logaddexp(0, logits) - logits * target
    return ratio(each.mean(1), np.ones(len(each)))


def _exact_match(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    import numpy as np

    if (found := _labels(columns)) is None:
        return None
    right = ((found[1] > HALF) == found[0]).all(1)
    return ratio(right, np.ones(len(right)))


def _f1_micro(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    if (found := _labels(columns)) is None:
        return None
    target, given = found[0], found[1] > HALF
    return ratio(2 * (target & given).sum(1), target.sum(1) + given.sum(1))


def _f1_labels(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    """The mean over labels that occur in targets or predictions."""
    import numpy as np

    if (found := _labels(columns)) is None:
        return None
    target, given = found[0], found[1] > HALF
    occurs = (target | given).any(0)

    def of(total: Array) -> Array:
        right, both = np.split(total[:, np.tile(occurs, 2)], 2, axis=1)
        return mean_of_present(2 * right, both)

    sums = np.concatenate([target & given, target.astype(int) + given], axis=1).astype(float)
    return Sums(sums, of, rarest=rarest_of(target.sum(0)))


# --- words ---


def _words(columns: Mapping[str, Array]) -> tuple[Array, Array] | None:
    """Targets (R,) and logits (R, K) of words; NaN for a word that was cut off."""
    if "word" not in columns or "logits" not in columns:
        return None
    return columns["target"].astype(int), columns["logits"].astype(float)


def _word_accuracy(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    import numpy as np

    if (found := _words(columns)) is None:
        return None
    seen = np.isfinite(found[1]).all(1)
    return ratio(seen & (np.where(seen[:, None], found[1], 0).argmax(1) == found[0]), seen)


def _word_loss(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    import numpy as np

    if (found := _words(columns)) is None:
        return None
    seen = np.isfinite(found[1]).all(1)
    logits = np.where(seen[:, None], found[1], 0)
    logits -= logits.max(1, keepdims=True)
    each = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), found[0]]
    return ratio(each * seen, seen)


def _entities(columns: Mapping[str, Array], about: Mapping[str, Any]) -> tuple[Array, Array, Array] | None:
    """(R, T) entities of each type that begin with a word: met, wanted, given."""
    if (found := _words(columns)) is None:
        return None
    import numpy as np
    import torch

    from frostline.tasks.entities import Scheme

    scheme = Scheme(about["names"])
    seen = np.isfinite(found[1]).all(1)
    given = np.where(seen, np.where(seen[:, None], found[1], 0).argmax(1), scheme.untold)
    first = np.diff(columns["index"], prepend=-1) != 0
    parts = scheme.begun(torch.from_numpy(found[0]), torch.from_numpy(given), torch.from_numpy(first))
    met, wanted, answered = (part.numpy() for part in parts)
    return met, wanted, answered


def _entity(above: int, *below: int) -> Callable[[Mapping[str, Array], Mapping[str, Any]], Sums | None]:
    """above, below: which of met, wanted and given are divided."""

    def score(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
        if (found := _entities(columns, about)) is None:
            return None
        counts = [part.sum(1) for part in found]
        return ratio(len(below) * counts[above], sum(counts[at] for at in below))

    return score


def _f1_entities(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    """The mean over the types that occur in truth or answers."""
    import numpy as np

    if (found := _entities(columns, about)) is None:
        return None
    met, wanted, given = (part.astype(int) for part in found)  # booleans would be added as "or"
    occurs = (wanted + given).any(0)
    if not occurs.any():
        return None

    def of(total: Array) -> Array:
        right, both = np.split(total, 2, axis=1)
        return mean_of_present(2 * right, both)

    sums = np.concatenate([met[:, occurs], (wanted + given)[:, occurs]], axis=1).astype(float)
    return Sums(sums, of, rarest=rarest_of(wanted.sum(0)))


# --- numbers, characters ---


def _correlation(ranked: bool) -> Callable[[Mapping[str, Array], Mapping[str, Any]], Sums | None]:
    """ranked: of ranks (Spearman), those among all samples, which draws keep."""

    def score(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
        import numpy as np
        from scipy.stats import rankdata

        target, given = columns.get("target"), columns.get("predicted")
        if target is None or given is None or target.dtype.kind != "f" or target.shape != given.shape:
            return None
        a, b = (it.reshape(len(it), -1).astype(float) for it in (target, given))
        a, b = (rankdata(it, axis=0) if ranked else it for it in (a, b))
        a, b = a - a.mean(0), b - b.mean(0)

        def of(total: Array) -> Array:
            n, rest = total[:, :1], total[:, 1:]
            x, y, xx, yy, xy = (part / n for part in np.split(rest, 5, axis=1))
            spread = np.maximum((xx - x**2) * (yy - y**2), 0) ** 0.5
            return np.where(spread > 0, (xy - x * y) / np.where(spread > 0, spread, 1), 0).mean(1)

        return Sums(np.concatenate([np.ones((len(a), 1)), a, b, a * a, b * b, a * b], axis=1), of)

    return score


def _squares(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
    """The loss of numbers, whose errors are divided by the deviation of training."""
    import numpy as np

    target, given, std = columns.get("target"), columns.get("predicted"), about.get("std")
    if target is None or given is None or not std or target.dtype.kind != "f" or target.shape != given.shape:
        return None
    errors = (target.astype(float) - given).reshape(len(target), -1)
    return ratio(((errors / np.array(std)) ** 2).mean(1), np.ones(len(target)))


def _error_rate(by_word: bool) -> Callable[[Mapping[str, Array], Mapping[str, Any]], Sums | None]:
    """Edits over the true number of characters or words."""

    def score(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
        if "decoded" not in columns:
            return None
        import numpy as np

        from frostline.contracts.targets import NO_TAG
        from frostline.tasks.edits import edits

        names = about["names"]
        blank = names.index(" ") if by_word and " " in names else None
        wrong, true = [], []
        for given, wanted in zip(columns["decoded"], columns["target"], strict=True):
            texts = [row[row != NO_TAG].tolist() for row in (given, wanted)]
            own, wished = ([*map(tuple, _divided(text, blank))] if by_word else text for text in texts)
            wrong.append(edits(own, wished))
            true.append(len(wished))
        return ratio(np.array(wrong), np.array(true))

    return score


def _divided(text: list[int], blank: int | None) -> list[list[int]]:
    return [[*word] for is_blank, word in groupby(text, lambda character: character == blank) if not is_blank]


SCORES: dict[str, tuple[Callable[[Mapping[str, Array], Mapping[str, Any]], Sums | None], ...]] = {
    "accuracy": (_word_accuracy,),
    "loss": (_binary_loss, _word_loss, _squares),
    "exact_match": (_exact_match,),
    "f1_micro": (_f1_micro,),
    "f1_macro": (_f1_labels, _f1_entities),
    "average_precision": (label_precision,),
    "precision": (_entity(0, 2),),
    "recall": (_entity(0, 1),),
    "f1": (_entity(0, 1, 2),),
    "pearson": (_correlation(ranked=False),),
    "spearman": (_correlation(ranked=True),),
    "cer": (_error_rate(by_word=False),),
    "wer": (_error_rate(by_word=True),),
    **BOX_SCORES,
}
