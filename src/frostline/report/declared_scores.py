"""Scores that a task declares as ratios of sums over its columns. Shapes: R rows, K classes, B draws."""

from collections.abc import Callable, Mapping
from typing import Any

from frostline.contracts.ratios import OF_COUNTS, Factors, Ratio
from frostline.report.resampling import Sums
from frostline.report.sample_scores import mean_of_present, rarest_of, ratio

Array = Any  # numpy.ndarray


def stored_score(name: str) -> Callable[[Mapping[str, Array], Mapping[str, Any]], Sums | None]:
    """The score that a task declares as a ratio of sums over its columns. Without a ratio, the mean of the column of
    its name."""

    def score(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Sums | None:
        import numpy as np

        declared = _ratios(columns, about).get(name) or Ratio({name: 1})
        parts = _parts(columns, declared)
        if parts is None:
            return None
        above, below = parts
        if not len(below) or (below < 0).any():
            return None
        if not declared.by_class:
            return ratio(above.sum(1), below.sum(1))
        counted = below.sum(0) > 0
        if above.shape != below.shape or not counted.any():
            return None
        above, below = above[:, counted], below[:, counted]

        def of(total: Array) -> Array:
            return mean_of_present(*np.split(total, 2, axis=1))

        target = columns.get("target")
        classes = target > 0 if target is not None and target.shape == (len(below), len(counted)) else below > 0
        return Sums(np.concatenate([above, below], axis=1), of, rarest=rarest_of(classes.sum(0)))

    return score


def _ratios(columns: Mapping[str, Array], about: Mapping[str, Any]) -> Mapping[str, Ratio]:
    stored = about.get("ratios")
    if isinstance(stored, Mapping) and stored:
        return {name: made for name, it in stored.items() if (made := Ratio.of(it)) is not None}
    counts = [columns.get(name) for name in ("right", "target", "predicted")]
    return OF_COUNTS if all(it is not None and it.ndim == 2 for it in counts) else {}


def _parts(columns: Mapping[str, Array], declared: Ratio) -> tuple[Array, Array] | None:
    """(R, K) or (R, 1) of what is divided, and of the divisor. None without such columns of finite numbers."""
    import numpy as np

    rows = len(columns["index"])
    own = [columns.get(name) for name in (*declared.above, *declared.below)]
    if not rows or any(it is None or it.dtype.kind not in "biuf" or not np.isfinite(it).all() for it in own):
        return None

    def added_up(factors: Factors) -> Array:
        each = [factor * columns[name].reshape(rows, -1).astype(float) for name, factor in factors.items()]
        wide = declared.by_class and len({it.shape[1] for it in each}) == 1
        return sum(each if wide else [it.sum(1, keepdims=True) for it in each])

    width = 1 if declared.by_class else max(columns[name].size // max(rows, 1) for name in declared.above)
    return added_up(declared.above), added_up(declared.below) if declared.below else np.full((rows, 1), float(width))
