"""Scores of a split by the values of columns (`data.group_columns`): the worst value, and gaps with p-values.

Shapes: N samples, V values of a column.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError
from frostline.report.calibration import classified
from frostline.report.gaps import Rate, gap_of, gap_words
from frostline.report.resampling import Array, merged
from frostline.report.sample_scores import SampleScore, ratio
from frostline.report.score_intervals import Units, interval_of, units_of
from frostline.report.score_parts import parts_of
from frostline.runs.predictions import SLICE, Predictions, file_of, read

# Scores that are means over samples, so that one of a few samples means the same as one of all.
MEANS = ("accuracy", "exact_match", "f1_micro", "mse", "mae", "loss", "cer", "wer")
LOWER = ("mse", "mae", "loss", "cer", "wer")  # of which the lowest is best
MOST_VALUES = 50  # of a column
LEFT_OUT = "left_out"


class Slice(NamedTuple):
    """The samples with one value of a column. rows: (n,) their places."""

    value: str
    rows: Array


def slices_of(found: Predictions) -> dict[str, dict[str, Any]]:
    """By column: `score`, its name; `values`, a row for each with `value`, `n`, `score`, `low`, `high` and `caution`;
    `worst` and `best` of the values; `gap` of the score between these two; and for two classes `fairness`: gaps of
    demographic parity and equalised odds. Gaps: see `gap_of`. A column without slices has
    `left_out` alone, the reason."""
    columns = [name for name in found.columns if name.startswith(SLICE)]
    score = _score_of(found) if columns else None
    if score is None:
        return {name.removeprefix(SLICE): {LEFT_OUT: "no score is a mean over samples"} for name in columns}
    name, parts = score
    units, first = units_of(found.columns), _firsts(found.columns["index"])
    fair = _decisions(found, first)
    results: dict[str, dict[str, Any]] = {}
    for column in columns:
        slices = _slices(found.columns[column][first])
        if why := _why_not(len(slices), len(first)):
            results[column.removeprefix(SLICE)] = {LEFT_OUT: why}
            continue
        own = _sliced(name, parts, slices, units, lowest_is_best=_lowest_is_best(found, name))
        results[column.removeprefix(SLICE)] = {"score": name, **own, "fairness": _fairness(fair, slices, units)}
    return results


def _why_not(values: int, samples: int) -> str:
    """Why a column has no slices, else ""."""
    if values == 1:
        return "all samples of the test split have one value"
    if values > MOST_VALUES or 2 * values > samples:
        most = f"{MOST_VALUES} values and half as many values as samples are the most"
        return f"{values:,} values of {samples:,} samples: {most}; write ranges instead of single numbers"
    return ""


def recorded_slices(folder: Path) -> dict[str, dict[str, Any]]:
    """Slices of the test split of the run in `folder`; {} if it stored no predictions."""
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
    if LEFT_OUT in own:
        return [f"{column} is left out: {own[LEFT_OUT]}"]
    by = {row["value"]: row for row in own["values"]}
    worst, best = by[own["worst"]], by[own["best"]]
    ends = f"{own['score']} {worst['score']:.4f} of '{worst['value']}' (n = {worst['n']:,}) to {best['score']:.4f} of "
    ends += f"'{best['value']}' (n = {best['n']:,}), gap {gap_words(own['gap'])}"
    fair = ", ".join(f"{name.replace('_', ' ')} {gap_words(gap)}" for name, gap in own["fairness"].items())
    return [f"{column}: {ends}", *([f"{column}: gaps of {fair}"] if fair else [])]


# --- what is compared ---


def _score_of(found: Predictions) -> tuple[str, SampleScore] | None:
    """The score that chose the epoch if it is a mean over samples, as one that the task stores for each is, else the
    first of MEANS."""
    monitor = _monitor(found)
    part = found.about.get("part", "test")
    for name in dict.fromkeys([*([monitor] if monitor in (*MEANS, *found.columns) else []), *MEANS]):
        if (parts := parts_of(found, f"{part}/{name}")) is not None:
            return f"{part}/{name}", parts
    return None


def _monitor(found: Predictions) -> str:
    return str(found.about.get("monitor", "")).rpartition("/")[2]


def _lowest_is_best(found: Predictions, score: str) -> bool:
    own = score.rpartition("/")[2]
    mode = found.about.get("mode") if own == _monitor(found) else None
    return own in LOWER if mode is None else mode == "min"


def _firsts(index: Array) -> Array:
    import numpy as np

    return np.unique(index, return_index=True)[1]


def _slices(values: Array) -> list[Slice]:
    import numpy as np

    names, of = np.unique(values.astype(str), return_inverse=True)
    return [Slice(str(name), np.flatnonzero(of == place)) for place, name in enumerate(names)]


def _places(slices: Sequence[Slice]) -> Array:
    """(N,) index of the slice of each sample."""
    import numpy as np

    places = np.empty(sum(len(rows) for _, rows in slices), int)
    for place, (_, rows) in enumerate(slices):
        places[rows] = place
    return places


def _plain(units: Units) -> Units:
    """The same in one stratum."""
    import numpy as np

    return units._replace(strata=np.zeros(units.number, int))


def _own_units(units: Units, rows: Array) -> Units:
    """Those of some samples alone."""
    import numpy as np

    if units.names[0] == "group":
        own = np.unique(units.of[rows], return_inverse=True)[1]
        return Units(own, np.zeros(int(own.max()) + 1, int), units.names)
    return Units(np.arange(len(rows)), merged(units.strata[rows]), units.names)


def _sliced(
    score: str, parts: SampleScore, slices: Sequence[Slice], units: Units, *, lowest_is_best: bool
) -> dict[str, Any]:
    import numpy as np

    rows: list[dict[str, Any]] = []
    for value, own in slices:
        its = parts.score._replace(sums=parts.sums[own], rarest=None)
        some = SampleScore(tuple(parts.samples[row] for row in own), its)
        interval = interval_of(score, some, _own_units(units, own))
        rows.append({"value": value, "n": len(own), "score": some.value, **interval})
    ranked = sorted(rows, key=lambda row: row["score"], reverse=lowest_is_best)
    worst, best = ranked[0], ranked[-1]
    every = np.ones(len(parts.sums), bool)
    gap = gap_of([Rate(parts.sums, parts.of, every)], _places(slices), _plain(units))
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
    arXiv:1610.02413), whose values are permuted within these classes."""
    import numpy as np

    if decisions is None:
        return {}
    true, given = decisions
    places, every = _places(slices), np.ones(len(given), bool)
    alone = Units(units.of, true.astype(int), units.names) if units.names[0] == "sample" else _plain(units)
    gaps = {
        "demographic_parity": gap_of([_rate(given, every)], places, _plain(units)),
        "equalised_odds": gap_of([_rate(given & true, true), _rate(given & ~true, ~true)], places, alone),
    }
    return {name: gap for name, gap in gaps.items() if gap is not None}


def _rate(above: Array, below: Array) -> Rate:
    rate = ratio(above, below)
    return Rate(rate.sums, rate.of, below)
