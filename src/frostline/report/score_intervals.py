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
from frostline.report.resampling import (
    LEAST_DRAWN,
    QUANTILES_FROM,
    Array,
    Sums,
    bounds,
    drawn,
    influences,
    merged,
    skewness,
)
from frostline.report.sample_scores import SampleScore, added, beside
from frostline.report.score_parts import parts_of
from frostline.report.wilson import wilson
from frostline.runs.predictions import Predictions, file_of, read

SHARES = ("accuracy", "accuracy_top5", "exact_match")
LEAST_SHARED = 10  # units from which the coverage of Wilson's interval was measured


class Units(NamedTuple):
    """What is drawn as a whole. of: (N,) the unit of each sample, in the order of their index. strata: (U,) of each
    unit. names: one and several of them in messages."""

    of: Array
    strata: Array
    names: tuple[str, str]

    @property
    def number(self) -> int:
        return len(self.strata)


def intervals_of(found: Predictions, only: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """By name of the score: `low`, `high`, `by` (wilson or bootstrap), the number of `units`, the name of one (`unit`),
    and `caution`: why it may hold the true score less often than 95 %, else "". Scores that are no function of sums
    over samples are left out."""
    names = [name for name in found.about.get("scores", {}) if not name.endswith("/n")] if only is None else [*only]
    scores = {name: parts for name in names if (parts := parts_of(found, name)) is not None}
    if not scores:
        return {}
    units = units_of(found.columns)
    intervals = {name: _share(parts, units) for name, parts in scores.items() if _is_share(name, parts, units)}
    rest = {name: parts for name, parts in scores.items() if name not in intervals}
    intervals |= _drawn(rest, units)
    return {name: intervals[name] for name in names if name in intervals}


def interval_of(name: str, parts: SampleScore, units: Units) -> dict[str, Any]:
    """`low`, `high` and `caution` of one score, as `intervals_of` gives them; no ends (None) if there are fewer than
    LEAST_SHARED units, or if every draw has the same score."""
    own = _share(parts, units) if _is_share(name, parts, units) else _drawn({name: parts}, units).get(name)
    if units.number < LEAST_SHARED:
        return {"low": None, "high": None, "caution": _only(units.number, units.names)}
    if own is None or own["low"] == own["high"]:
        return {"low": None, "high": None, "caution": "the same in every draw"}
    return {key: own[key] for key in ("low", "high", "caution")}


def interval_of_mean(found: Sequence[Predictions], name: str) -> dict[str, Any] | None:
    """The interval of the mean of a score over runs that were scored on the same samples, as `intervals_of` gives it: a
    draw takes the same units for all runs. If all draws of a share are equal, as where one class is every answer, it is
    Wilson's of the mean share. None if the samples differ, or if a run has no such interval."""
    if len(found) == 1:
        return intervals_of(found[0], [name]).get(name)
    parts = [own for it in found if (own := parts_of(it, name)) is not None]
    if len(parts) < len(found) or any(own.samples != parts[0].samples for own in parts):
        return None
    ends = [*accumulate((own.sums.shape[1] for own in parts), initial=0)]

    def mean(total: Array) -> Array:
        return sum(own.of(total[:, slice(*at)]) for own, at in zip(parts, pairwise(ends), strict=True)) / len(parts)

    first, draws = parts[0], min(own.score.draws for own in parts)
    made = first.by_unit(beside([own.sums for own in parts]))._replace(of=mean, draws=draws)
    units = units_of(found[0].columns)
    drawn = _drawn({name: SampleScore(first.samples, made)}, units).get(name)
    if drawn is not None and drawn["low"] == drawn["high"] and all(_is_share(name, own, units) for own in parts):
        mean_sums = sum(own.sums for own in parts) / len(parts)
        return _share(SampleScore(first.samples, first.by_unit(mean_sums)), units)
    return drawn


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


def _is_share(name: str, parts: SampleScore, units: Units) -> bool:
    own = parts.sums
    alone = units.names[0] == "sample" and own.shape[1] == 2 and name.partition("/")[2] in SHARES
    return alone and bool((own[:, 1] == 1).all() and ((own[:, 0] == 0) | (own[:, 0] == 1)).all())


def _share(parts: SampleScore, units: Units) -> dict[str, Any]:
    right, number = parts.sums.sum(0)
    low, high = wilson(float(right), int(number))
    caution = _only(int(number), ("sample", "samples")) if number < LEAST_SHARED else ""
    return {"low": low, "high": high, "by": "wilson", **_about(units), "caution": caution}


def _drawn(scores: Mapping[str, SampleScore], units: Units) -> dict[str, dict[str, Any]]:
    parts = [own.by_unit(summed(own.sums, units)) for own in scores.values()]
    found = {}
    strata = int(units.strata.max()) + 1
    for (name, own), sums, values in zip(scores.items(), parts, drawn(parts, units.strata), strict=True):
        away = influences(sums)
        low, high = bounds(values, own.value, skewness(away), units.number, strata)
        if sums.draws < QUANTILES_FROM:  # scores that take so long lie between 0 and 1
            low, high = max(min(low, own.value), 0.0), min(max(high, own.value), 1.0)
        if isfinite(low) and isfinite(high):
            caution = caution_of(units, sums) or ("the same in every draw" if low == high else "")
            if not caution and len(away) and high - low < abs(away).max():
                caution = "one sample changes the score more than the draws differ"
            found[name] = {"low": low, "high": high, "by": "bootstrap", **_about(units), "caution": caution}
    return found


def _about(units: Units) -> dict[str, Any]:
    return {"units": units.number, "unit": units.names[0]}


def caution_of(units: Units, sums: Sums) -> str:
    """Why an interval may hold the true score less often than 95 %; "" if it is as good as that."""
    if units.number < sums.least:
        return _only(units.number, units.names)
    if sums.rarest is not None and sums.rarest < sums.least_of_class:
        return f"a class with {_only(sums.rarest, ('sample', 'samples'))}"
    return ""


def _only(number: int, names: tuple[str, str]) -> str:
    return f"only {counted(number, *names)}"


def given_intervals(metrics: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Intervals that the task itself gives, as scores `<name>_low` and `<name>_high`, drawn from `<name>_units`."""
    found = {}
    for name in metrics:
        ends = {end: metrics.get(f"{name}_{end}", nan) for end in ("low", "high")}
        if all(map(isfinite, ends.values())):
            number = metrics.get(f"{name}_units", inf)
            caution = f"only {int(number)} of what is drawn" if number < LEAST_DRAWN else ""
            caution = caution or ("the same in every draw" if ends["low"] == ends["high"] else "")
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
    """Names of scores without those that tell of intervals that a task gives."""
    known = dict.fromkeys(names)
    ends = {f"{name}{end}" for name in known for end in ("_low", "_high", "_units")}
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
