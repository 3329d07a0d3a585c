"""Average precision and recall of boxes in draws of the pictures, by the rules of Lin et al. 2014 (arXiv:1405.0312):
found boxes of a picture take true ones of their class in the order of their scores, and crowds as often as they like.

Shapes: P pictures, G pairs of a picture and a class, M found and N true boxes of the largest, T thresholds of the
intersection over union, D found boxes of a class, B draws.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from frostline.report.label_precision import draws_for, each_sample
from frostline.report.resampling import AT_ONCE, LEAST_DRAWN, Array, Sums

THRESHOLDS, RECALLS = 10, 101  # 0.5, 0.55, ... 0.95 and 0, 0.01, ... 1
MOST_FOUND = 100  # of a class in a picture, the surest
AREAS = {"": (0.0, inf), "_small": (0.0, 32.0**2), "_medium": (32.0**2, 96.0**2), "_large": (96.0**2, inf)}  # in pixels
# Pictures from which the interval of a precision can be trusted. Its envelope makes the score of few pictures too high:
# on simulated ones, intervals held that of 8,000 pictures in 92, 94 and 93 % of 200 sets of 100, 200 and 400.
LEAST_PICTURES = 200
# True boxes of the rarest class, for each class: the error of the mean over many classes is small, and the excess of
# each precision stays. The pictures above have 3 classes, each in 0.7 boxes a picture. With 80 of 19, 84 %.
BOXES_OF_CLASS = 40
SHARING = 5  # a run has twelve scores, most of which take less than the mean over all thresholds


class Class(NamedTuple):
    """What counts of one class, the found boxes by falling score. picture, rank: (D,), the rank that in the picture.
    met, ignored: (T, D). true: (P,) number of true boxes that count."""

    picture: Array
    rank: Array
    met: Array
    ignored: Array
    true: Array


def _score(name: str, area: str = "", only: int | None = None, most: int = MOST_FOUND) -> Callable[..., Sums | None]:
    """A score of stored boxes. name: precision or recall. area: a key of AREAS. only: index of the only threshold.
    most: found boxes of a class in a picture."""

    def score(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
        if "box" not in columns or "is_target" not in columns or "label" not in columns:
            return None
        classes = _classes_of(columns, area)
        if not classes:
            return None
        chosen = range(THRESHOLDS) if only is None else [only]
        function = _precision if name == "precision" else _recall
        numbers = sum(
            len(own.picture) + len(chosen) * (4 * int(own.met.sum(1).max()) + 10 * RECALLS) for own in classes
        )
        longest = max(len(own.picture) for own in classes)

        def of(times: Array) -> Array:
            import numpy as np

            found = []
            for rows in np.array_split(times, -(-len(times) * longest // AT_ONCE) or 1):
                each = np.concatenate([function(own, rows, chosen, most) for own in classes])
                known = np.isfinite(each)
                found.append(np.where(known, each, 0).sum(0) / np.maximum(known.sum(0), 1))
            return np.concatenate(found)

        sums, draws = each_sample(columns["index"]), draws_for(SHARING * numbers)
        rarest = min(int(own.true.sum()) for own in classes)
        if name == "recall":
            return Sums(sums, of, draws, LEAST_DRAWN, rarest)
        return Sums(sums, of, draws, LEAST_PICTURES, rarest, BOXES_OF_CLASS * len(classes))

    return score


def _precision(own: Class, times: Array, thresholds: Sequence[int], most: int) -> Array:
    """(B, P) → (T, B): the mean precision at RECALLS levels of recall; NaN where no true box is drawn."""
    import numpy as np

    number = (times @ own.true).astype(np.int64)
    levels, numbers = np.linspace(0, 1, RECALLS), np.maximum(number, 1)[:, None]
    wanted = np.ceil(levels * numbers - 1e-6)
    wanted = (wanted + (wanted / numbers < levels)).astype(np.int64)  # 0.28 lies above 7 / 25 in floating point
    some = np.flatnonzero(own.rank < most)
    weights = times[:, own.picture[some]]
    all_answered = weights.cumsum(1)
    found = []
    for threshold in thresholds:
        ignored = own.ignored[threshold][some]
        answered = all_answered if not ignored.any() else (weights * ~ignored).cumsum(1)
        places = np.flatnonzero(own.met[threshold][some])
        score = _mean_precision(weights[:, places], answered[:, places], wanted)
        found.append(np.where(number > 0, score, np.nan))
    return np.stack(found)


def _mean_precision(right: Array, answered: Array, wanted: Array) -> Array:
    """(B,). right: (B, M) right answers by falling score. answered: (B, M) answers up to each. wanted: (B, R) right
    ones at each level of recall."""
    import numpy as np

    if not right.shape[1]:
        return np.zeros(len(right))
    found = right.cumsum(1)
    precision = np.maximum.accumulate((found / np.maximum(answered, 1))[:, ::-1], axis=1)[:, ::-1]
    step = int(max(found.max(), wanted.max())) + 2  # so that rows do not overlap
    rows = np.arange(len(right))[:, None]
    first = np.searchsorted((found.astype(np.int64) + rows * step).ravel(), (wanted + rows * step).ravel())
    first = first.reshape(wanted.shape) - rows * right.shape[1]
    padded = np.concatenate([precision, np.zeros((len(right), 1))], axis=1)
    mean: Array = np.take_along_axis(padded, first, axis=1).mean(1)
    return mean


def _recall(own: Class, times: Array, thresholds: Sequence[int], most: int) -> Array:
    """(B, P) → (T, B)."""
    import numpy as np

    number = times @ own.true
    found = []
    for threshold in thresholds:
        met = own.met[threshold] & (own.rank < most) & ~own.ignored[threshold]
        found.append(times @ np.bincount(own.picture[met], minlength=times.shape[1]) / np.maximum(number, 1))
    return np.where(number > 0, np.stack(found), np.nan)


# --- which boxes are met ---


class _Last:
    """The boxes that were matched last, which all scores of a run share: the array itself, and its classes by area."""

    boxes: Array = None
    classes: dict[str, list[Class]]


def _classes_of(columns: Mapping[str, Array], area: str) -> list[Class]:
    if _Last.boxes is not columns["box"]:
        _Last.boxes, _Last.classes = columns["box"], {}
    if area not in _Last.classes:
        _Last.classes[area] = _classes(columns, AREAS[area])
    return _Last.classes[area]


def _classes(columns: Mapping[str, Array], areas: tuple[float, float]) -> list[Class]:
    """Those with a true box that counts."""
    import numpy as np

    pictures, of = np.unique(columns["index"], return_inverse=True)
    corners = columns["box"].astype(float)
    sizes = (corners[:, 2:] - corners[:, :2]).prod(1)
    is_true = columns["is_target"].astype(bool) & (columns["label"] >= 0)
    is_found = ~columns["is_target"].astype(bool) & (columns["label"] >= 0)
    own_areas = np.where(is_true, columns["area"], sizes)
    made = []
    for label in np.unique(columns["label"][is_true]):
        true, found = (np.flatnonzero(rows & (columns["label"] == label)) for rows in (is_true, is_found))
        found = found[np.lexsort((-columns["score"][found], of[found]))]  # by picture, the surest first; stable
        ranks = _ranks(of[found])
        found, ranks = found[ranks < MOST_FOUND], ranks[ranks < MOST_FOUND]
        crowd = columns["crowd"][true] == 1
        outside = (own_areas[true] < areas[0]) | (own_areas[true] > areas[1])
        counts = np.bincount(of[true][~(crowd | outside)], minlength=len(pictures)).astype(float)
        if not counts.any():
            continue
        boxes, owners = (corners[found], corners[true]), (of[found], of[true])
        met, ignored = _matched(boxes, owners, ranks, crowd, crowd | outside)
        away = (own_areas[found] < areas[0]) | (own_areas[found] > areas[1])
        ignored |= ~met & away
        order = np.argsort(-columns["score"][found], kind="stable")
        rows = (met & ~ignored)[:, order], ignored[:, order]
        made.append(Class(of[found][order], ranks[order], *rows, counts))
    return made


def _ranks(of: Array) -> Array:
    """(R,) the index of each row within its picture. of: ascending."""
    import numpy as np

    starts = np.flatnonzero(np.diff(of, prepend=-1) != 0)
    return np.arange(len(of)) - np.repeat(starts, np.diff(np.append(starts, len(of))))


def _matched(
    boxes: tuple[Array, Array], owners: tuple[Array, Array], ranks: Array, crowd: Array, passed: Array
) -> tuple[Array, Array]:
    """Which found boxes take a true one, (T, D), and which take one that does not count. boxes, owners: of found and
    true ones, their corners and pictures. passed: (N,) true boxes that do not count."""
    import numpy as np

    thresholds = np.linspace(0.5, 0.95, THRESHOLDS)
    order = np.lexsort((passed, owners[1]))  # of a picture, those that count first
    true, of_true, crowd, passed = boxes[1][order], owners[1][order], crowd[order], passed[order]
    met, ignored = (np.zeros((THRESHOLDS, len(ranks)), bool) for _ in range(2))
    sizes = np.bincount(of_true, minlength=int(max(of_true.max(initial=0), owners[0].max(initial=0))) + 1)
    starts = np.cumsum(sizes) - sizes
    taken = np.zeros((THRESHOLDS, len(true)), bool)
    for rank in range(int(ranks.max(initial=-1)) + 1):
        rows = np.flatnonzero((ranks == rank) & (sizes[owners[0]] > 0))
        if not len(rows):  # no picture with a true box has as many
            break
        pictures = owners[0][rows]
        slots = np.arange(int(sizes[pictures].max(initial=0)))
        there = slots < sizes[pictures][:, None]  # (G, N)
        places = np.where(there, starts[pictures][:, None] + slots, 0)
        shares = np.where(there, _overlaps(boxes[0][rows][:, None], true[places], crowd[places]), -1.0)
        free = ~taken[:, places] | crowd[places]
        close = (shares >= np.minimum(thresholds, 1 - 1e-10)[:, None, None]) & free & there
        close &= ~(passed[places] & (close & ~passed[places]).any(2, keepdims=True))  # one that counts is preferred
        best = np.where(close, shares, -1.0)[:, :, ::-1].argmax(2)  # of equal ones the last
        best = len(slots) - 1 - best
        has = close.any(2)
        chosen = np.take_along_axis(np.broadcast_to(places, close.shape), best[:, :, None], 2)[:, :, 0]
        met[:, rows] = has
        ignored[:, rows] = has & passed[chosen]
        at, which = np.nonzero(has)
        taken[at, chosen[at, which]] = True
    return met, ignored


def _overlaps(found: Array, true: Array, crowd: Array) -> Array:
    """(G, 1, 4), (G, N, 4), (G, N) → (G, N): intersection over union, for a crowd over the found box."""
    import numpy as np

    sides = np.minimum(found[..., 2:], true[..., 2:]) - np.maximum(found[..., :2], true[..., :2])
    both = sides.clip(min=0).prod(-1)
    own, other = ((it[..., 2:] - it[..., :2]).prod(-1) for it in (found, true))
    whole = np.where(crowd, own, own + other - both)
    return np.where(whole > 0, both / np.where(whole > 0, whole, 1), 0)


BOX_SCORES: dict[str, tuple[Callable[..., Sums | None], ...]] = {
    "map": (_score("precision"),),
    "map_50": (_score("precision", only=0),),
    "map_75": (_score("precision", only=5),),
    "mar_1": (_score("recall", most=1),),
    "mar_10": (_score("recall", most=10),),
    "mar_100": (_score("recall"),),
    **{f"map{size}": (_score("precision", size),) for size in ("_small", "_medium", "_large")},
    **{f"mar{size}": (_score("recall", size),) for size in ("_small", "_medium", "_large")},
}
