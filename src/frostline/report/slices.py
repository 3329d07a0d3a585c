"""Scores of a split by the values of columns (`data.group_columns`): the worst value, and gaps with intervals.

Shapes: N samples, S sums, B draws, V values of a column.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError
from frostline.report.calibration import classified
from frostline.report.resampling import Array, drawn, merged
from frostline.report.sample_scores import SampleScore
from frostline.report.score_intervals import LEAST_DRAWN, Units, units_of
from frostline.report.score_parts import parts_of, ratio
from frostline.runs.predictions import SLICE, Predictions, file_of, read

# Scores that are means over samples, so that one of a few samples means the same as one of all.
MEANS = ("accuracy", "exact_match", "f1_micro", "mse", "mae", "loss", "cer", "wer")
LOWER = ("mse", "mae", "loss", "cer", "wer")  # of which the lowest is best
MOST_VALUES = 50  # of a column
LEVELS = (0.025, 0.975)


class Slice(NamedTuple):
    """The samples with one value of a column. rows: (n,) their places."""

    value: str
    rows: Array


def slices_of(found: Predictions) -> dict[str, dict[str, Any]]:
    """By column: `score`, its name; `values`, a row for each with `value`, `n`, `score`, `low`, `high` and `caution`;
    `worst` and `best` of the values; `gap` of the score between these two; and for two classes `fairness`: gaps of
    demographic parity and equalised odds. A gap has `gap`, `low` and `high`. {} if there is no column or no score that
    is a mean over samples."""
    columns = [name for name in found.columns if name.startswith(SLICE)]
    score = _score_of(found)
    if not columns or score is None:
        return {}
    name, parts = score
    units, first = units_of(found.columns), _firsts(found.columns["index"])
    fair = _decisions(found, first)
    said = {}
    for column in columns:
        slices = _slices(found.columns[column][first])
        if not 1 < len(slices) <= MOST_VALUES:
            continue
        own = _sliced(parts, slices, units, lower=name.rpartition("/")[2] in LOWER)
        said[column.removeprefix(SLICE)] = {"score": name, **own, "fairness": _fairness(fair, slices, units)}
    return said


def recorded_slices(folder: Path) -> dict[str, dict[str, Any]]:
    """Of the test split of the run in `folder`; {} if it stored no predictions."""
    if not (folder / file_of("test")).is_file():
        return {}
    try:
        return slices_of(read(folder, "test"))
    except RunError:  # damaged: the intervals tell it
        return {}


def slice_lines(slices: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each column."""
    return [line for column, own in slices.items() for line in _lines(column, own)]


def _lines(column: str, own: Mapping[str, Any]) -> list[str]:
    by = {row["value"]: row for row in own["values"]}
    worst, best = by[own["worst"]], by[own["best"]]
    ends = f"{own['score']} {worst['score']:.4f} of '{worst['value']}' (n = {worst['n']:,}) to {best['score']:.4f} of "
    ends += f"'{best['value']}' (n = {best['n']:,}), gap {_said(own['gap'])}"
    few = f"; do not trust it: {worst['caution'] or best['caution']}" if worst["caution"] or best["caution"] else ""
    fair = ", ".join(f"{name.replace('_', ' ')} {_said(gap)}" for name, gap in own["fairness"].items())
    return [f"{column}: {ends}{few}", *([f"{column}: gaps of {fair}"] if fair else [])]


def _said(gap: Mapping[str, float]) -> str:
    return f"{gap['gap']:.4f} ({gap['low']:.4f} … {gap['high']:.4f})"


# --- what is compared ---


def _score_of(found: Predictions) -> tuple[str, SampleScore] | None:
    """The score that chose the epoch if it is a mean over samples, else the first of MEANS."""
    monitor = str(found.about.get("monitor", "")).rpartition("/")[2]
    part = found.about.get("part", "test")
    for name in dict.fromkeys([*([monitor] if monitor in MEANS else []), *MEANS]):
        if (parts := parts_of(found, f"{part}/{name}")) is not None:
            return f"{part}/{name}", parts
    return None


def _firsts(index: Array) -> Array:
    import numpy as np

    return np.unique(index, return_index=True)[1]


def _slices(values: Array) -> list[Slice]:
    import numpy as np

    names, of = np.unique(values.astype(str), return_inverse=True)
    return [Slice(str(name), np.flatnonzero(of == place)) for place, name in enumerate(names)]


def _own_units(units: Units, rows: Array) -> Units:
    """Those of some samples alone."""
    import numpy as np

    if units.names[0] == "group":
        own = np.unique(units.of[rows], return_inverse=True)[1]
        return Units(own, np.zeros(int(own.max()) + 1, int), units.names)
    return Units(np.arange(len(rows)), merged(units.strata[rows]), units.names)


def _draws(sums: Array, of: Any, rows: Array, units: Units, seed: int) -> tuple[float, Array, int]:
    """The score of some samples, its values (B,) in draws, and the number of units that are drawn."""
    import numpy as np

    own = _own_units(units, rows)
    whole = np.zeros((own.number, sums.shape[1]))
    np.add.at(whole, own.of, sums[rows])
    (values,) = drawn([(whole, of)], own.strata, seed)
    return float(of(whole.sum(0)[None])[0]), values, own.number


def _ends(values: Array) -> dict[str, float]:
    import numpy as np

    low, high = np.quantile(values[np.isfinite(values)], LEVELS)
    return {"low": float(low), "high": float(high)}


def _sliced(parts: SampleScore, slices: Sequence[Slice], units: Units, *, lower: bool) -> dict[str, Any]:
    """The gap is that between the two values that are furthest apart here: among many values some are by chance."""
    rows: list[dict[str, Any]] = []
    draws: dict[str, Array] = {}
    for place, (value, own) in enumerate(slices):
        score, values, number = _draws(parts.sums, parts.of, own, units, place)
        draws[value] = values
        caution = f"{number} {units.names[number > 1]} alone" if number < LEAST_DRAWN else ""
        rows.append({"value": value, "n": len(own), "score": score, **_ends(values), "caution": caution})
    ranked = sorted(rows, key=lambda row: row["score"], reverse=lower)
    worst, best = ranked[0], ranked[-1]
    apart = draws[best["value"]] - draws[worst["value"]]
    gap = {"gap": abs(best["score"] - worst["score"]), **_ends(-apart if lower else apart)}
    return {"values": rows, "worst": worst["value"], "best": best["value"], "gap": gap}


# --- two classes ---


def _decisions(found: Predictions, first: Array) -> tuple[Array, Array] | None:
    """(N,) bool: whether each sample is of the second class, and whether it is answered so. None for other targets."""
    classes = classified(found)
    if classes is None or classes[1].shape[1] != 2:
        return None
    return classes[0][first] == 1, classes[1][first].argmax(1) == 1


def _fairness(decisions: tuple[Array, Array] | None, slices: Sequence[Slice], units: Units) -> dict[str, Any]:
    """`demographic_parity`: of the share that is answered with the second class. `equalised_odds`: the larger one of
    the gaps of that share among samples of the second class, and among those of the first (Hardt et al. 2016,
    arXiv:1610.02413). A value without such samples is left out of that gap."""
    import numpy as np

    if decisions is None:
        return {}
    true, given = decisions
    rates = {
        "parity": (given, np.ones(len(given), bool)),
        "true positives": (given & true, true),
        "false positives": (given & ~true, ~true),
    }
    gaps = {name: _gap(*ratio(above, below), slices, units, below) for name, (above, below) in rates.items()}
    odds = [gap for name in ("true positives", "false positives") if (gap := gaps[name]) is not None]
    said = {} if gaps["parity"] is None else {"demographic_parity": gaps["parity"]}
    return said | ({"equalised_odds": max(odds, key=lambda gap: gap["gap"])} if odds else {})


def _gap(sums: Array, of: Any, slices: Sequence[Slice], units: Units, counts: Array) -> dict[str, float] | None:
    """Between the highest and the lowest rate. counts: (N,) whether a sample counts."""
    found = [_draws(sums, of, rows, units, place) for place, (_, rows) in enumerate(slices) if counts[rows].any()]
    if len(found) < 2 or not all(isfinite(rate) for rate, *_ in found):
        return None
    ranked = sorted(found, key=lambda it: it[0])
    return {"gap": ranked[-1][0] - ranked[0][0], **_ends(ranked[-1][1] - ranked[0][1])}
