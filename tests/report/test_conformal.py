"""Sets and intervals hold the truth as often as they say, and are mapie's."""

import numpy as np
import pytest

from frostline.report.conformal import half_widths, least_miss, least_probability, quantile

K = 5


def classified(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities that are far too sure."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(number, K)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (shares.cumsum(1) < random.random((number, 1))).sum(1)
    sure = np.exp(3 * logits)
    return np.minimum(target, K - 1), sure / sure.sum(1, keepdims=True)


@pytest.mark.parametrize("miss", [0.05, 0.1, 0.2])
def test_sets_cover(miss: float) -> None:
    """Within a point of the target, over 200 validation splits of 300 samples."""
    target, shares = classified(20_000, 10**6)
    covered = []
    for seed in range(200):
        least = least_probability(*classified(300, seed), miss)
        assert least is not None
        covered.append((shares[np.arange(len(target)), target] >= least).mean())
    assert np.mean(covered) == pytest.approx(1 - miss, abs=0.01)


@pytest.mark.parametrize("miss", [0.05, 0.2])
def test_intervals_cover(miss: float) -> None:
    random = np.random.default_rng(0)
    further = np.abs(random.standard_t(3, 50_000))
    covered = []
    for _ in range(200):
        target = np.zeros((300, 2))
        widths = half_widths(target, random.standard_t(3, (300, 2)), miss)
        assert widths is not None
        covered += [(further <= width).mean() for width in widths]
    assert np.mean(covered) == pytest.approx(1 - miss, abs=0.01)


@pytest.mark.parametrize(("number", "miss", "place"), [(9, 0.1, 9), (19, 0.1, 18), (99, 0.05, 95), (100, 0.05, 96)])
def test_quantiles_are_those_of_the_paper(number: int, miss: float, place: int) -> None:
    scores = np.random.default_rng(0).permutation(number) + 1.0
    assert quantile(scores, miss) == place
    assert quantile(scores, miss) == np.quantile(scores, min(1, place / number), method="inverted_cdf")


def test_few_samples_promise_little() -> None:
    assert quantile(np.arange(8.0), 0.1) is None
    assert quantile(np.arange(9.0), least_miss(9)) == 8.0
    assert half_widths(np.zeros((8, 2)), np.ones((8, 2)), 0.1) is None
    assert least_probability(*classified(8, 0), 0.1) is None


@pytest.mark.parametrize("miss", [0.05, 0.1, 0.2])
def test_sets_are_mapies(miss: float) -> None:
    classification = pytest.importorskip("mapie.classification")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """Its samples are probabilities."""

        def fit(self, X: np.ndarray, y: np.ndarray) -> "Given":
            self.classes_ = np.arange(K)
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return X

        def predict(self, X: np.ndarray) -> np.ndarray:
            return X.argmax(1)

    target, shares = classified(300, 0)
    _, further = classified(1000, 1)
    truth = classification.SplitConformalClassifier(
        Given().fit(shares, target), confidence_level=1 - miss, conformity_score="lac", prefit=True
    ).conformalize(shares, target)
    sets = truth.predict_set(further)[1][:, :, 0]
    least = least_probability(target, shares, miss)
    assert least is not None
    np.testing.assert_array_equal(further >= least, sets)
