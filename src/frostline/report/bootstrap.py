"""Intervals of scores over samples, and which settings are as good as the best: a paired bootstrap (Efron 1979).

Every setting is scored on the same draws of the same samples, so that what is hard in a draw is hard for all. The best
setting was chosen on these samples, too. So its lead over another is compared with the leads that chance alone gives
the best of as many equal settings: a model confidence set (Hansen, Lunde and Nason 2011). Shapes: N samples, B draws.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from frostline.report.sample_scores import SampleScore

SHARE = 0.05  # of false alarms: intervals hold 95 %
AT_ONCE = 4_000_000  # numbers drawn at a time
ROUNDING = 1e-12  # differences of scores up to this are none


class Interval(NamedTuple):
    """low, high: 95 % interval of the score over samples. as_good: whether the setting is not significantly worse than
    the best one: with a chance of 95 %, every setting that is truly best is as good."""

    low: float
    high: float
    as_good: bool


def intervals(
    settings: Sequence[Sequence[SampleScore]], mode: str, best: int = 0, seed: int = 0
) -> list[Interval] | None:
    """settings: the scores of each setting's runs, whose means are compared. mode: max or min. best: index of the best
    setting. None if the settings were not scored on the same samples."""
    import numpy as np

    runs = [run for setting in settings for run in setting]
    if not runs or any(run.samples != runs[0].samples for run in runs) or not all(settings):
        return None
    sign = 1 if mode == "max" else -1
    drawn = _drawn(settings, len(runs[0].samples), min(run.score.draws for run in runs), seed)
    means = np.array([np.mean([run.value for run in setting]) for setting in settings])
    leads = sign * (means[best] - means)
    worse = _worse(leads, sign * (drawn - means[:, None]), best)
    ends = np.nanquantile(drawn, [SHARE / 2, 1 - SHARE / 2], axis=1)
    return [Interval(float(low), float(high), not lost) for low, high, lost in zip(*ends, worse, strict=True)]


def _worse(leads: Any, errors: Any, best: int) -> list[bool]:
    """Which settings are significantly worse. leads: (settings,), of the best one over each. errors: (settings, B), of
    the drawn scores; NaN where a draw has no score, which then speaks for no setting.

    Leads are in standard errors of their own pair, so that a setting whose score varies much hides no other. The worst
    setting is left out if the best leads it by more than any of equal settings would lead another of them in 95 % of
    draws; then the same is asked of the rest, until a setting stays.
    """
    import numpy as np

    own = np.where(leads > 0, _studentised(leads[:, None], errors[best] - errors)[:, 0], leads)
    order = sorted(range(len(leads)), key=lambda at: (at != best, own[at]))
    widest, limits = np.zeros(errors.shape[1]), [np.inf]
    for turn in range(1, len(order)):
        pairs = errors[order[:turn]] - errors[order[turn]]
        widest = np.maximum(widest, np.abs(_studentised(pairs, pairs)).max(0))
        limits.append(np.quantile(np.where(np.isnan(widest), np.inf, widest), 1 - SHARE, method="higher"))
    worse = [False] * len(leads)
    for turn in range(len(order) - 1, 0, -1):
        if not own[order[turn]] > limits[turn]:
            break
        worse[order[turn]] = True
    return worse


def _studentised(values: Any, draws: Any) -> Any:
    """values, (S, B) or (S, 1), in standard deviations of `draws` (S, B), of those that are finite. A value that is the
    same in all draws is infinitely far from 0."""
    import numpy as np

    finite = np.isfinite(draws)
    number = np.maximum(finite.sum(1, keepdims=True), 1)
    centred = np.where(finite, draws - np.where(finite, draws, 0.0).sum(1, keepdims=True) / number, 0.0)
    deviations = np.sqrt((centred**2).sum(1, keepdims=True) / number)
    far = np.where(np.abs(values) > ROUNDING, np.inf, 0.0) * np.sign(values)
    return np.divide(values, deviations, out=far, where=deviations > ROUNDING)


def _drawn(settings: Sequence[Sequence[SampleScore]], number: int, draws: int, seed: int) -> Any:
    """(settings, B): the mean score of each setting's runs in each draw. number: of samples."""
    import numpy as np

    random = np.random.default_rng(seed)
    chunk = max(1, AT_ONCE // max(number, 1))
    found = []
    for first in range(0, draws, chunk):
        rows = min(chunk, draws - first)
        chosen = random.integers(0, number, (rows, number)) + np.arange(rows)[:, None] * number
        times = np.bincount(chosen.ravel(), minlength=rows * number).reshape(rows, number).astype(float)
        found.append([np.mean([run.of(times @ run.sums) for run in setting], axis=0) for setting in settings])
    return np.concatenate(found, axis=1)
