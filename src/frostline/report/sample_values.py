"""The score of each sample alone, from a run's stored predictions."""

from frostline.report import sample_scores, score_parts
from frostline.report.resampling import Array
from frostline.runs.predictions import Predictions


def values_of(found: Predictions, score: str) -> Array | None:
    """(R,) values of a score, such as iou; NaN for a sample that has none, such as a picture whose pixels all do not
    count. None if predictions do not have it. Each sample has one row."""
    import numpy as np

    columns, about = found.columns, found.about
    own = columns.get(score)
    if own is not None and own.ndim == 1 and own.dtype.kind in "fiu":
        return own.astype(float)
    made = score_parts.stored_score(score)(columns, about)
    if made is None and (make := sample_scores.SCORES.get(score)) is not None:
        made = make(columns)
    for further in score_parts.SCORES.get(score, ()):
        made = further(columns, about) if made is None else made
    if made is None or sample_scores.is_sparse(made.sums):
        return None
    return np.where((made.sums != 0).any(1), made.of(made.sums), np.nan)
