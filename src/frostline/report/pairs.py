"""Two runs on the same samples: differences of their scores with intervals, and the samples on which they differ.

Shapes: N samples, R rows, U units, S and Z sums of the two runs, B draws.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from frostline.errors import RunError, few, shortened
from frostline.report.resampling import Array, Sums, bounds, drawn, influences, skewness
from frostline.report.sample_scores import beside, classes_of
from frostline.report.score_intervals import caution_of, summed, units_of
from frostline.report.score_parts import parts_of
from frostline.runs.predictions import Predictions

SAME = ("index", "word", "target")  # columns that say what is to be answered
OUTPUTS = ("logits", "predicted", "decoded", "embedding")


class Difference(NamedTuple):
    """first, second: the scores. low, high: 95 % interval of second - first. caution: see `intervals_of`."""

    name: str
    first: float
    second: float
    low: float
    high: float
    caution: str

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


class Answers(NamedTuple):
    """The numbers of samples with one class each that both, the first alone, the second alone, and neither answered
    right, and McNemar's probability of so uneven an outcome if both were equally good; None if samples have groups."""

    both: int
    first: int
    second: int
    neither: int
    chance: float | None


class Compared(NamedTuple):
    """What two runs are compared on, for messages. samples: both have them. next_step: of an error if they differ."""

    samples: str
    next_step: str


TEST_SPLITS = Compared("test splits", "compare runs of the same data, data.split_seed and data.fold")


class Differing(NamedTuple):
    """Samples to which the runs give other answers: their number among `of`, and names with target and answers."""

    number: int
    of: int
    shown: list[tuple[str, str, str, str]]


def require_same(first: Predictions, second: Predictions, where: object, compared: Compared = TEST_SPLITS) -> None:
    """Raise RunError unless both runs were scored on the same samples with the same targets."""
    import numpy as np

    problem = ""
    a, b = first.columns, second.columns
    next_step = compared.next_step
    if first.about.get("names") != second.about.get("names"):
        names = [few([shortened(str(it)) for it in found.about.get("names", [])], 5) for found in (first, second)]
        problem = f"the first learned {names[0]}, the second {names[1]}"
        next_step = "compare runs that learned the same classes"
    elif {name for name in SAME if name in a} != {name for name in SAME if name in b}:
        problem = "their targets are of different kinds"
    elif len(a["index"]) != len(b["index"]) or not np.array_equal(a["index"], b["index"]):
        both = len(np.intersect1d(a["index"], b["index"]))
        problem = f"{both:,} samples are in both {compared.samples}, of {len(set(a['index'].tolist())):,} and "
        problem += f"{len(set(b['index'].tolist())):,}"
    else:
        other = [name for name in SAME if name in a and not np.array_equal(a[name], b[name])]
        problem = "the same samples have other targets" if other else ""
    digests = {found.about.get("samples") for found in (first, second)} - {None}
    if not problem and len(digests) > 1:
        problem = "samples of one index have other content"
    if problem:
        raise not_comparable(problem, where, compared._replace(next_step=next_step))


def not_comparable(problem: str, where: object, compared: Compared = TEST_SPLITS) -> RunError:
    return RunError(
        f"the {compared.samples} of these runs differ: {problem}", where=where, next_step=compared.next_step
    )


def differences(first: Predictions, second: Predictions) -> list[Difference]:
    """Compare each score that both runs have and that is a function of sums over samples."""
    units = units_of(first.columns)
    found = []
    for name in first.about.get("scores", {}):
        one, other = parts_of(first, name), parts_of(second, name)
        if one is not None and other is not None and one.sums.shape[0] == other.sums.shape[0]:
            both = [it.by_unit(summed(it.sums, units)) for it in (one, other)]
            found.append((name, one.value, other.value, _joined(*both)))
    values = drawn([sums for *_, sums in found], units.strata)
    strata = int(units.strata.max()) + 1
    return [
        Difference(
            name,
            one,
            other,
            *bounds(own, other - one, skewness(influences(sums)), units.number, strata),
            caution_of(units, sums),
        )
        for (name, one, other, sums), own in zip(found, values, strict=True)
    ]


def _joined(one: Sums, other: Sums) -> Sums:
    """The sums (U, S + Z) of both, and the difference of their scores."""
    width = one.sums.shape[1]
    return Sums(
        beside([one.sums, other.sums]),
        lambda total: other.of(total[:, width:]) - one.of(total[:, :width]),
        min(one.draws, other.draws),
        *(one.least, one.rarest, one.least_of_class),
    )


def answers(first: Predictions, second: Predictions) -> Answers | None:
    """None if samples do not have one class each."""
    given = [_answers(found.columns) for found in (first, second)]
    if given[0] is None or given[1] is None or "word" in first.columns:
        return None
    a, b = (own == first.columns["target"] for own in given)
    one, other = int((a & ~b).sum()), int((b & ~a).sum())
    chance = None if "group" in first.columns else mcnemar(one, other)
    return Answers(int((a & b).sum()), one, other, int((~a & ~b).sum()), chance)


def mcnemar(one: int, other: int) -> float:
    """Two-sided exact probability (McNemar 1947, doi:10.1007/BF02295996): `one` and `other` samples are answered right
    by one run alone."""
    from scipy.stats import binomtest

    return float(binomtest(one, one + other, 0.5).pvalue) if one + other else 1.0


def _answers(columns: Mapping[str, Array]) -> Array | None:
    """(R,) the class that each row is given; -1 for a word that was cut off."""
    import numpy as np

    found = classes_of(columns)
    if found is None:
        return None
    logits = found[1]
    seen = np.isfinite(logits).all(1)
    return np.where(seen, np.where(seen[:, None], logits, 0).argmax(1), -1)


def differing(first: Predictions, second: Predictions, most: int) -> Differing | None:
    """most: samples to name. Of classes the first ones in the split, of numbers those that are furthest apart."""
    import numpy as np

    a, b = first.columns, second.columns
    given, other = _answers(a), _answers(b)
    if given is not None and other is not None:
        rows = np.flatnonzero(given != other)
        names = [*map(str, first.about["names"]), "-"]
        shown = [(_name(a, at), names[a["target"][at]], names[given[at]], names[other[at]]) for at in rows[:most]]
        return Differing(len(rows), len(given), shown)
    column = next((it for it in OUTPUTS if it in a and it in b and a[it].dtype.kind == "f"), None)
    if column is None or a[column].shape != b[column].shape:
        return None
    gap = np.abs(a[column].astype(float) - b[column]).reshape(len(a[column]), -1).max(1)
    rows = np.argsort(-gap, kind="stable")[: int((gap > 0).sum())]
    parts = (a["target"], a[column], b[column]) if column == "predicted" else None
    shown = []
    for at in rows[:most]:
        target, one, other = ("", "", "") if parts is None else (_numbers(part[at]) for part in parts)
        shown.append((_name(a, at), target, one, other))
    return Differing(len(rows), len(gap), shown)


def _name(columns: Mapping[str, Array], at: Any) -> str:
    word = f", word {columns['word'][at] + 1}" if "word" in columns else ""
    return f"{columns['sample'][at]}{word}"


def _numbers(values: Any) -> str:
    import numpy as np

    return ", ".join(f"{value:.4g}" for value in np.atleast_1d(values)[:4])
