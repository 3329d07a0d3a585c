"""Intervals hold the true score as often as they say; they are SciPy's where it has them; units are drawn whole."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from conftest import short_form
from frostline.report.resampling import Sums, bounds, drawn, influences, merged, skewness, times
from frostline.report.score_intervals import (
    cautions,
    given_intervals,
    interval_of_mean,
    intervals_of,
    units_of,
    without_bounds,
)
from frostline.report.wilson import student, wilson
from frostline.runs.predictions import Predictions

N, K = 200, 4


def of(scores: dict[str, float], **columns: Any) -> Predictions:
    number = len(next(iter(columns.values())))
    own = {"sample": np.array([f"s{at}" for at in range(number)]), "index": np.arange(number)}
    return Predictions({"scores": scores}, own | columns)


def classified(number: int = N, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    target = np.arange(number) % K
    return target, random.normal(size=(number, K)) + 1.5 * np.eye(K)[target]


@pytest.mark.parametrize(("right", "number"), [(0, 10), (10, 10), (7, 12), (355, 359), (1, 5000)])
def test_wilson_is_scipys(right: int, number: int) -> None:
    truth = stats.binomtest(right, number).proportion_ci(method="wilson")
    assert wilson(right, number) == pytest.approx((truth.low, truth.high), abs=1e-12)


@pytest.mark.parametrize("freedom", [10, 49, 1000])
def test_quantiles_of_student_are_scipys(freedom: int) -> None:
    assert student(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


# --- coverage ---


@pytest.mark.parametrize("number", [50, 200, 2000])
def test_wilson_covers(number: int) -> None:
    """Exactly, for shares from 0.5 to 0.95: the probability of all counts whose interval holds the share."""
    counts = np.arange(number + 1)
    ends = np.array([wilson(int(count), number) for count in counts])
    covered = []
    for share in np.linspace(0.5, 0.95, 91):
        holds = (ends[:, 0] <= share) & (share <= ends[:, 1])
        covered.append(stats.binom.pmf(counts, number, share)[holds].sum())
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    assert np.mean(np.abs(np.array(covered) - 0.95) <= 0.02) > 0.75  # counts are whole: single shares lie off


@pytest.mark.parametrize("number", short_form([50, 200, 2000], 50, 200))
@pytest.mark.parametrize("score", ["mean", "f1_macro"])
def test_the_bootstrap_covers(number: int, score: str) -> None:
    """A skewed mean, as of a loss (exponential), and F1 of two classes, in strata. All data sets share the draws."""
    sets = 1200 if number < 1000 else 500
    random = np.random.default_rng(number)
    strata = np.arange(number) * 2 // number
    weights = times(strata, 1000, random)
    if score == "mean":
        made, function, truth = means(random, sets, strata)
    else:
        made, function, truth = f1s(random, sets, strata)
    held = 0
    for sums in made:
        value = float(function(sums.sum(0)[None])[0])
        low, high = bounds(function(weights @ sums), value, skewness(influences(Sums(sums, function))), number, 2)
        held += low <= truth <= high
    assert held / sets == pytest.approx(0.95, abs=0.02)


def means(random: Any, sets: int, strata: Any) -> Any:
    """Losses with the means 1 and 0.5 by class."""
    points = random.exponential(np.where(strata, 0.5, 1.0), (sets, len(strata)))
    sums = np.stack([points, np.ones_like(points)], axis=2)
    return sums, lambda total: total[:, 0] / total[:, 1], 0.75


def f1s(random: Any, sets: int, strata: Any) -> Any:
    """Class 0 is found with 0.7, class 1 with 0.85."""
    right = random.random((sets, len(strata))) < np.where(strata, 0.85, 0.7)
    true = np.eye(2)[strata][None].repeat(sets, 0)
    given = np.where(right[..., None], true, 1 - true)
    sums = np.concatenate([true * given, true + given], axis=2)

    def score(total: Any) -> Any:
        return (2 * total[:, :2] / np.maximum(total[:, 2:], 1e-12)).mean(1)

    truth = score(np.array([[0.35, 0.425, 0.5 + 0.35 + 0.075, 0.5 + 0.425 + 0.15]]))[0]
    return sums, score, truth


def test_a_bootstrap_without_strata_is_scipys_bca() -> None:
    points = np.random.default_rng(3).exponential(size=300)
    sums = np.stack([points, np.ones(300)], axis=1)

    def mean(total: Any) -> Any:
        return total[:, 0] / total[:, 1]

    (values,) = drawn([Sums(sums, mean)], np.zeros(300, int))
    found = bounds(values, points.mean(), skewness(influences(Sums(sums, mean))), 300, 1)
    truth = stats.bootstrap((points,), np.mean, method="BCa", n_resamples=9999, rng=0).confidence_interval
    assert found == pytest.approx((truth.low, truth.high), abs=0.02)


# --- units ---


def test_draws_keep_the_size_of_each_stratum() -> None:
    strata = np.array([0, 0, 1, 1, 2, 2, 2])
    found = times(strata, 50, np.random.default_rng(0))
    for stratum, size in enumerate([2, 2, 3]):
        assert (found[:, strata == stratum].sum(1) == size).all()
    assert found.std() > 0


def test_draws_that_runs_share_are_those_that_each_would_make(monkeypatch: pytest.MonkeyPatch) -> None:
    strata = np.array([1] * 30 + [0] * 20)
    sums = np.arange(50.0)[:, None]
    one = [Sums(sums, lambda x: x[:, 0])]
    shared = [drawn(one, strata, seed)[0] for seed in (0, 0, 1)]
    monkeypatch.setattr("frostline.report.resampling.SHARED", 0)
    alone = [drawn(one, strata, seed)[0] for seed in (0, 0, 1)]
    assert np.array_equal(shared, alone)
    assert not np.array_equal(shared[0], shared[2])


def test_small_strata_are_drawn_together() -> None:
    assert len({*merged(np.array([0] * 20 + [1] * 6 + [2] * 7))}) == 2
    assert len({*merged(np.array([0] * 20 + [1] * 3))}) == 1
    assert len({*merged(np.arange(8))}) == 1


def test_shares_have_wilsons_interval_and_others_a_bootstrap() -> None:
    target, logits = classified()
    accuracy = float((logits.argmax(1) == target).mean())
    loss = float((np.log(np.exp(logits).sum(1)) - logits[np.arange(N), target]).mean())
    found = intervals_of(of({"test/accuracy": accuracy, "test/loss": loss, "test/n": N}, target=target, logits=logits))
    assert [it["by"] for it in found.values()] == ["wilson", "bootstrap"]
    assert found["test/accuracy"]["low"] == wilson(accuracy * N, N)[0]
    assert found["test/loss"]["low"] < loss < found["test/loss"]["high"]
    assert {it["caution"] for it in found.values()} == {""}


def test_groups_are_drawn_whole() -> None:
    """Each sample three times, in a group of its own: the interval is that of the samples once, and not narrower."""
    target, logits = classified()
    accuracy = float((logits.argmax(1) == target).mean())
    scores = {"test/accuracy": accuracy}
    groups = np.array([f"g{at}" for at in range(N)]).repeat(3)
    thrice = intervals_of(of(scores, target=target.repeat(3), logits=logits.repeat(3, 0), group=groups))
    found, once = thrice["test/accuracy"], wilson(accuracy * N, N)
    assert (found["by"], found["unit"], found["units"]) == ("bootstrap", "group", N)
    assert found["high"] - found["low"] == pytest.approx(once[1] - once[0], rel=0.1)


def test_entities_are_drawn_by_sentence() -> None:
    names = ["O", "B-it", "I-it"]
    tags = np.tile([1, 2, 0, 0], 60)
    given = tags.copy()
    given[:80:4] = 0  # the first word of twenty entities is missed
    logits = np.eye(3)[given]
    logits[-1] = np.nan  # cut off
    scores = {"test/f1": 0.0, "test/precision": 40 / 60, "test/recall": 40 / 60, "test/accuracy": 219 / 239}
    scores["test/f1"] = 40 / 60
    columns = {"target": tags, "logits": logits, "word": np.tile(np.arange(4), 60)}
    found = of(scores, **columns)
    found.columns["index"] = np.arange(60).repeat(4)
    found.about["names"] = names
    intervals = intervals_of(found)
    assert {*intervals} == {*scores}
    assert {(it["units"], it["unit"]) for it in intervals.values()} == {(60, "sentence")}
    assert intervals["test/f1"]["low"] < 2 / 3 < intervals["test/f1"]["high"]


def test_what_is_too_small_says_so() -> None:
    target, logits = classified(20)
    loss = float((np.log(np.exp(logits).sum(1)) - logits[np.arange(20), target]).mean())
    found = intervals_of(of({"test/loss": loss}, target=target, logits=logits))
    assert cautions(found) == ["do not trust the interval of test/loss: only 20 samples"]
    perfect = intervals_of(of({"test/f1_macro": 1.0}, target=target.repeat(4), logits=np.eye(K)[target.repeat(4)]))
    assert cautions(perfect) == ["do not trust the interval of test/f1_macro: the same in every draw"]


def test_draws_that_hardly_differ_are_told() -> None:
    """Two classes are all right and one is all wrong: draws within classes change the score by next to nothing."""
    target, given = np.repeat([0, 1, 2], [20, 22, 18]), np.repeat([0, 1, 0, 1], [20, 22, 10, 8])
    score = float(np.mean([2 * 20 / (20 + 30), 2 * 22 / (22 + 30), 0]))
    found = intervals_of(of({"test/f1_macro": score}, target=target, logits=np.eye(3)[given]))["test/f1_macro"]
    assert found["low"] <= score <= found["high"]
    assert found["caution"] == "one sample changes the score more than the draws differ"


def test_a_task_may_give_intervals_itself() -> None:
    metrics = {"test/map_r": 0.5, "test/map_r_low": 0.25, "test/map_r_high": 0.75, "test/high": 1.0}
    assert given_intervals(metrics) == {"test/map_r": {"low": 0.25, "high": 0.75, "by": "task", "caution": ""}}
    assert without_bounds(metrics) == ["test/map_r", "test/high"]


def test_units_follow_the_index_of_samples() -> None:
    found = of({}, target=np.array([1, 0, 1]), group=np.array(["b", "a", "b"]))
    found.columns["index"] = np.array([7, 3, 5])
    assert units_of(found.columns).of.tolist() == [0, 1, 1]


# --- means over runs ---


def test_the_mean_of_equal_runs_has_the_interval_of_one() -> None:
    target, logits = classified()
    shifted = logits - logits.max(1, keepdims=True)
    each = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(N), target]
    found = of({"test/loss": float(each.mean())}, target=target, logits=logits)
    one = intervals_of(found)["test/loss"]
    assert interval_of_mean([found, found, found], "test/loss") == pytest.approx(one)


def test_the_mean_of_other_runs_lies_closer_than_each() -> None:
    runs = []
    for seed in range(4):
        target, logits = classified(seed=seed)
        runs.append(of({"test/accuracy": float((logits.argmax(1) == target).mean())}, target=target, logits=logits))
    mean = interval_of_mean(runs, "test/accuracy")
    assert mean is not None
    one = intervals_of(runs[0])["test/accuracy"]
    assert 0.4 < (mean["high"] - mean["low"]) / (one["high"] - one["low"]) < 0.6  # four independent errors: half
    wide = [of({"test/f1_macro": 1.0}, target=np.arange(N) % 40, logits=np.eye(40)[np.arange(N) % 40])] * 2
    assert (interval_of_mean(wide, "test/f1_macro") or {})["caution"] == "the same in every draw"


def test_the_mean_of_runs_with_one_answer_is_not_sure() -> None:
    """Each draw has the same number of samples of each class, and so the same score."""
    target = np.arange(N) % 3
    found = of({"test/accuracy": float((target == 0).mean())}, target=target, logits=np.tile([1.0, 0.0, 0.0], (N, 1)))
    one, mean = intervals_of(found)["test/accuracy"], interval_of_mean([found, found], "test/accuracy")
    assert one["by"] == "wilson"
    assert mean == one


def test_runs_on_other_samples_have_no_mean() -> None:
    target, logits = classified()
    score = {"test/accuracy": float((logits.argmax(1) == target).mean())}
    first = of(score, target=target, logits=logits)
    other = of(score, target=target, logits=logits, sample=np.array([f"t{at}" for at in range(N)]))
    assert interval_of_mean([first, other], "test/accuracy") is None
    assert interval_of_mean([first, of({}, target=target, logits=logits)], "test/accuracy") is None
