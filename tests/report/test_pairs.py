"""Two runs on the same samples: differences, McNemar's test, the samples on which they differ, and refusals."""

from math import comb
from typing import Any

import numpy as np
import pytest
from scipy import stats

from frostline.errors import RunError
from frostline.report.pairs import Compared, answers, differences, differing, mcnemar, require_same
from frostline.runs.predictions import Predictions

N, K = 300, 3
TARGET = np.arange(N) % K


def run(right: Any, **columns: Any) -> Predictions:
    """Answers the samples of `right`, (N,) bool; each other one with the next class."""
    given = np.where(right, TARGET, (TARGET + 1) % K)
    own = {"sample": np.array([f"s{at}" for at in range(N)]), "index": np.arange(N), "target": TARGET}
    about = {"names": ["a", "b", "c"], "scores": {"test/accuracy": float(right.mean())}}
    return Predictions(about, own | {"logits": np.eye(K)[given] * 5} | columns)


FIRST = run(np.arange(N) >= 60)
SECOND = run(np.arange(N) >= 30)


def test_a_difference_is_that_of_the_same_samples() -> None:
    (found,) = differences(FIRST, SECOND)
    assert (found.name, found.first, found.second) == ("test/accuracy", 0.8, 0.9)
    gap = (np.arange(N) >= 30).astype(float) - (np.arange(N) >= 60)
    truth = stats.bootstrap((gap,), np.mean, method="BCa", n_resamples=4000, rng=0).confidence_interval
    assert (found.low, found.high) == pytest.approx((truth.low, truth.high), abs=0.01)
    assert found.significant
    assert not differences(FIRST, FIRST)[0].significant


def test_mcnemars_probability_is_that_of_coins() -> None:
    assert mcnemar(30, 0) == pytest.approx(2 * 0.5**30)
    assert mcnemar(3, 9) == pytest.approx(2 * sum(comb(12, at) for at in range(4)) / 2**12)
    assert mcnemar(0, 0) == 1.0


def test_answers_are_counted() -> None:
    found = answers(FIRST, SECOND)
    assert found is not None
    assert found[:4] == (240, 0, 30, 30)
    assert found.chance == mcnemar(0, 30)


def test_samples_of_groups_have_no_mcnemar() -> None:
    groups = np.array([f"g{at // 3}" for at in range(N)])
    found = answers(run(np.arange(N) >= 60, group=groups), SECOND)
    assert found is not None
    assert found.chance is None


def test_samples_on_which_they_differ_are_named_and_counted() -> None:
    found = differing(FIRST, SECOND, 2)
    assert found is not None
    assert (found.number, found.of) == (30, N)
    assert found.shown == [("s30", "a", "b", "a"), ("s31", "b", "c", "b")]


def test_of_numbers_those_furthest_apart_come_first() -> None:
    target = np.zeros((3, 1))
    own = {"sample": np.array(["x", "y", "z"]), "index": np.arange(3), "target": target}
    one = Predictions({}, own | {"predicted": np.array([[1.0], [2.0], [3.0]])})
    other = Predictions({}, own | {"predicted": np.array([[1.0], [2.5], [9.0]])})
    found = differing(one, other, 5)
    assert found is not None
    assert (found.number, [row[0] for row in found.shown]) == (2, ["z", "y"])
    assert found.shown[0][1:] == ("0", "3", "9")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": np.arange(N) + 100}, "200 samples are in both test splits, of 300 and 300"),
        ({"target": TARGET[::-1]}, "the same samples have other targets"),
        ({"word": np.zeros(N)}, "their targets are of different kinds"),
    ],
)
def test_other_test_splits_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=said):
        require_same(FIRST, run(np.arange(N) >= 30, **change), "here")


def test_of_other_samples_than_test_splits_the_message_says_so() -> None:
    compared = Compared("evaluated samples", "frostline evaluate run=it")
    with pytest.raises(RunError, match="the evaluated samples of these runs differ: 200 samples are in both evaluated"):
        require_same(FIRST, run(np.arange(N) >= 30, index=np.arange(N) + 100), "here", compared)
    one, other = (Predictions(FIRST.about | {"samples": digest}, FIRST.columns) for digest in "ab")
    with pytest.raises(RunError, match="samples of one index have other content") as raised:
        require_same(one, other, "here", compared)
    assert raised.value.next_step == "frostline evaluate run=it"


def test_other_classes_are_refused() -> None:
    other = Predictions(SECOND.about | {"names": ["a", "b"]}, SECOND.columns)
    with pytest.raises(RunError, match="the first learned a, b, c, the second a, b"):
        require_same(FIRST, other, "here")
    require_same(FIRST, SECOND, "here")
