"""A 95 % interval of each score of a run, from its stored predictions alone.

Wilson's for shares of samples; otherwise a bootstrap of whole units: samples within their classes, sentences for words,
groups if samples have them.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError, counted
from frostline.report.resampling import LEAST_DRAWN, Array, Sums, bounds, drawn, merged, skewness
from frostline.report.sample_scores import SampleScore, added, beside, classes_of
from frostline.report.score_parts import parts_of
from frostline.report.wilson import wilson
from frostline.runs.predictions import Predictions, file_of, read

SHARES = ("accuracy", "accuracy_top5", "exact_match")
LEAST_SHARED = 10  # units from which the coverage of Wilson's interval was measured
LEAST_OF_CLASS = 5  # samples, in a mean over classes


class Units(NamedTuple):
    """What is drawn as a whole. of: (N,) the unit of each sample, in the order of their index. strata: (U,) of each
    unit. names: one and several of them in messages."""

    of: Array
    strata: Array
    names: tuple[str, str]

    @property
    def number(self) -> int:
        return len(self.strata)


def intervals_of(found: Predictions) -> dict[str, dict[str, Any]]:
    """By name of the score: `low`, `high`, `by` (wilson or bootstrap), the number of `units`, the name of one (`unit`),
    and `caution`: why it may hold the true score less often than 95 %, else "". Scores that are no function of sums
    over samples are left out."""
    names = [name for name in found.about.get("scores", {}) if not name.endswith("/n")]
    scores = {name: parts for name in names if (parts := parts_of(found, name)) is not None}
    if not scores:
        return {}
    units = units_of(found.columns)
    said = {name: _share(parts, units) for name, parts in scores.items() if _is_share(name, parts, units)}
    rest = {name: parts for name, parts in scores.items() if name not in said}
    said |= _drawn(rest, units, _fewest(found.columns))
    return {name: said[name] for name in names if name in said}


def interval_of(name: str, parts: SampleScore, units: Units) -> dict[str, Any]:
    """`low`, `high` and `caution` of one score, as `intervals_of` gives them; no ends (None) if there are fewer than
    LEAST_SHARED units, or if every draw has the same score."""
    own = _share(parts, units) if _is_share(name, parts, units) else _drawn({name: parts}, units, None).get(name)
    if units.number < LEAST_SHARED:
        return {"low": None, "high": None, "caution": f"{counted(units.number, *units.names)} alone"}
    if own is None or own["low"] == own["high"]:
        return {"low": None, "high": None, "caution": "the same in every draw"}
    return {key: own[key] for key in ("low", "high", "caution")}


def interval_of_mean(found: Sequence[Predictions], name: str) -> dict[str, Any] | None:
    """The interval of the mean of a score over runs that were scored on the same samples, as `intervals_of` gives it: a
    draw takes the same units for all runs. None if the samples differ, or if a run has no such interval."""
    parts = [own for it in found if (own := parts_of(it, name)) is not None]
    if len(parts) < len(found) or any(own.samples != parts[0].samples for own in parts):
        return None
    ends = [*accumulate((own.sums.shape[1] for own in parts), initial=0)]

    def mean(total: Array) -> Array:
        return sum(own.of(total[:, slice(*at)]) for own, at in zip(parts, pairwise(ends), strict=True)) / len(parts)

    sums, limits = beside([own.sums for own in parts]), (min(it.draws for it in parts), max(it.least for it in parts))
    together = SampleScore(parts[0].samples, sums, mean, *limits)
    return _drawn({name: together}, units_of(found[0].columns), _fewest(found[0].columns)).get(name)


def units_of(columns: Mapping[str, Array]) -> Units:
    import numpy as np

    _, first = np.unique(columns["index"], return_index=True)
    if "group" in columns:
        own = np.unique(columns["group"][first], return_inverse=True)[1]
        return Units(own, np.zeros(int(own.max()) + 1, int), ("group", "groups"))
    own = np.arange(len(first))
    if "word" in columns:
        return Units(own, np.zeros(len(own), int), ("sentence", "sentences"))
    target = columns.get("target")
    classes = target is not None and target.ndim == 1 and target.dtype.kind in "iu" and len(target) == len(first)
    strata = merged(target[first]) if classes and target is not None else np.zeros(len(own), int)
    return Units(own, strata, ("sample", "samples"))


def summed(sums: Array, units: Units) -> Array:
    """(N, S) of samples → (U, S) of units."""
    return sums if units.names[0] != "group" else added(sums, units.of, units.number)


def _fewest(columns: Mapping[str, Array]) -> int | None:
    """Samples of the rarest class, if each sample has one."""
    import numpy as np

    found = classes_of(columns)
    if found is None or "word" in columns:
        return None
    return int(np.unique(found[0], return_counts=True)[1].min())


def _is_share(name: str, parts: SampleScore, units: Units) -> bool:
    own = parts.sums
    alone = units.names[0] == "sample" and own.shape[1] == 2 and name.partition("/")[2] in SHARES
    return alone and bool((own[:, 1] == 1).all() and ((own[:, 0] == 0) | (own[:, 0] == 1)).all())


def _share(parts: SampleScore, units: Units) -> dict[str, Any]:
    right, number = parts.sums.sum(0)
    low, high = wilson(float(right), int(number))
    caution = f"{counted(int(number), 'sample', 'samples')} alone" if number < LEAST_SHARED else ""
    return {"low": low, "high": high, "by": "wilson", **_about(units), "caution": caution}


def _drawn(scores: Mapping[str, SampleScore], units: Units, fewest: int | None) -> dict[str, dict[str, Any]]:
    parts = [Sums(summed(own.sums, units), *own[2:]) for own in scores.values()]
    found = {}
    strata = int(units.strata.max()) + 1
    for (name, own), sums, values in zip(scores.items(), parts, drawn(parts, units.strata), strict=True):
        low, high = bounds(values, own.value, skewness(sums), units.number, strata)
        if isfinite(low) and isfinite(high):
            caution = _caution(name, low, high, units, fewest, sums.least)
            found[name] = {"low": low, "high": high, "by": "bootstrap", **_about(units), "caution": caution}
    return found


def _about(units: Units) -> dict[str, Any]:
    return {"units": units.number, "unit": units.names[0]}


def _caution(name: str, low: float, high: float, units: Units, fewest: int | None, least: int) -> str:
    if units.number < least:
        return f"{counted(units.number, *units.names)} alone"
    if low == high:
        return "the same in every draw"
    if fewest is not None and fewest < LEAST_OF_CLASS and name.endswith("_macro"):
        return f"a class with {counted(fewest, 'sample', 'samples')} alone"
    return ""


def given_intervals(metrics: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Intervals that the task itself gives, as scores `<name>_low` and `<name>_high`. Those of ndcg_10 are over
    `ndcg_users`."""
    found = {}
    for name in metrics:
        ends = {end: metrics.get(f"{name}_{end}", nan) for end in ("low", "high")}
        if all(map(isfinite, ends.values())):
            users = metrics.get(f"{name.rpartition('_')[0]}_users", inf)
            caution = f"{counted(int(users), 'user', 'users')} alone" if users < LEAST_DRAWN else ""
            found[name] = {**ends, "by": "task", "caution": caution}
    return found


def cautions(intervals: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on intervals that may be too narrow, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, own in intervals.items():
        if own.get("caution"):
            reasons.setdefault(own["caution"], []).append(name)
    return [f"do not trust the interval of {_joined(names)}: {reason}" for reason, names in reasons.items()]


def _joined(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def without_bounds(names: Iterable[str]) -> list[str]:
    """Names of scores without the ends of intervals that a task gives among them."""
    known = dict.fromkeys(names)
    ends = {f"{name}{end}" for name in known for end in ("_low", "_high")}
    return [name for name in known if name not in ends]


def recorded_intervals(folder: Path, metrics: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Intervals of the test scores of the run in `folder`; those of the task alone if it stored no predictions."""
    tested = {name: score for name, score in metrics.items() if name.startswith("test/")}
    own = given_intervals(tested)
    if not (folder / file_of("test")).is_file():
        return own
    try:
        return own | {name: it for name, it in intervals_of(read(folder, "test")).items() if name not in own}
    except RunError as error:
        print(f"frostline: the scores have no intervals: {error.what}", file=sys.stderr)
        return own
