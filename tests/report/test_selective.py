"""The bound of the error rate is SciPy's and holds as often as it says; fewer answers have fewer errors."""

import numpy as np
import pytest
from scipy import stats

from frostline.report.selective import DOUBT, errors_by_coverage, selective, threshold_of, upper_bound


def samples(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences from 0.5 to 1; an answer is right with that probability."""
    random = np.random.default_rng(seed)
    confidence = 1 - random.beta(1, 4, number) / 2
    return confidence, (random.random(number) < confidence).astype(float)


@pytest.mark.parametrize(("wrong", "number"), [(0, 60), (3, 60), (59, 60), (60, 60)])
def test_the_bound_is_scipys(wrong: int, number: int) -> None:
    exact = stats.binomtest(wrong, number, alternative="less").proportion_ci(1 - DOUBT, method="exact")
    assert upper_bound(wrong, number, DOUBT) == pytest.approx(exact.high, abs=1e-9)


def test_errors_are_counted_by_confidence() -> None:
    coverage, error = errors_by_coverage(np.array([0.6, 0.9, 0.8, 0.7]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert error.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    found = selective(*samples(3, 0))
    assert (len(found["coverage"]), found["coverage"][-1]) == (3, 1.0)
    assert found["aurc"] == pytest.approx(errors_by_coverage(*samples(3, 0))[1].mean())


def test_the_order_of_equal_confidences_does_not_matter() -> None:
    right = np.repeat([1.0, 0.0], 500)
    for order in (right, right[::-1]):
        found = selective(np.full(1000, 0.9), order)
        assert found["aurc"] == pytest.approx(0.5)
        assert found["error"] == pytest.approx([0.5] * 20)


@pytest.mark.parametrize(("number", "most"), [(200, 0.1), (2000, 0.05)])
def test_the_promise_holds(number: int, most: float) -> None:
    """At most 5 % of thresholds from validation have more errors than promised among very many further samples."""
    further = samples(400_000, 10**6)
    coverage, error = errors_by_coverage(*further)
    ordered = -np.sort(-further[0])
    broken, answered = 0, []
    for seed in range(200):
        found = threshold_of(*samples(number, seed), most)
        if found is None:
            continue
        at = np.searchsorted(-ordered, -found.value, side="right") - 1
        broken += error[at] > most
        answered.append(coverage[at])
        assert found.error <= found.bound <= most
    assert broken <= 0.05 * 200
    assert np.mean(answered) > 0.3


def test_equal_confidences_are_answered_together() -> None:
    found = threshold_of(np.full(500, 0.9), np.ones(500), 0.05)
    assert found is not None
    assert (found.value, found.coverage, found.error) == (0.9, 1.0, 0.0)
    assert threshold_of(np.full(500, 0.9), np.arange(500) % 2 / 1.0, 0.05) is None
    assert threshold_of(np.ones(20), np.ones(20), 0.05) is None  # too few to promise anything
