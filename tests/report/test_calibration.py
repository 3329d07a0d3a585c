"""Scores of confidence are scikit-learn's and torchmetrics'; the temperature is SciPy's; intervals hold the truth."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from frostline.report.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    Calibration,
    believed,
    binned,
    classified,
    examined,
    fitted,
    log_softmax,
    recorded,
)
from frostline.runs.predictions import Predictions

N, K = 800, 4
random = np.random.default_rng(0)
TRUTH = random.normal(size=(N, K)) * 2
SHARES = np.exp(log_softmax(TRUTH))
TARGET = np.array([random.choice(K, p=share) for share in SHARES])
SURE = TRUTH * 3  # three times too sure


def scores(temperature: float = 1.0) -> Calibration:
    return examined(believed(TARGET, SURE, temperature))


def test_scores_are_those_of_others() -> None:
    found = scores()
    shares = np.exp(log_softmax(SURE))
    assert found.nll == pytest.approx(log_loss(TARGET, shares, labels=range(K)))
    each = [brier_score_loss(at == TARGET, shares[:, at]) for at in range(K)]
    assert found.brier == pytest.approx(sum(each))
    truth = multiclass_calibration_error(torch.from_numpy(shares), torch.from_numpy(TARGET), K, n_bins=BINS)
    assert found.ece == pytest.approx(float(truth), abs=1e-6)
    assert found.low <= found.ece <= found.high


def test_the_temperature_mends_what_is_too_sure() -> None:
    temperature = fitted(TARGET, SURE)

    def doubted(it: float) -> float:
        """The true class counts 1 - 1 / (N + 2), the most probable other one the rest (Platt 1999)."""
        found, doubt = log_softmax(SURE / it), 1 / (N + 2)
        others = np.where(np.arange(K) == TARGET[:, None], -np.inf, found).max(1)
        return float(-((1 - doubt) * found[np.arange(N), TARGET] + doubt * others).mean())

    truth = minimize_scalar(doubted, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-8}).x
    assert temperature == pytest.approx(truth, rel=1e-4)
    assert temperature == pytest.approx(3, rel=0.15)
    assert scores(temperature).nll == pytest.approx(scores(3).nll, abs=0.002)
    assert scores(temperature).ece < scores().ece / 3


@pytest.mark.parametrize("number", [20, 200])
@pytest.mark.parametrize("classes", [2, 50])
def test_answers_that_are_all_right_are_not_made_certain(number: int, classes: int) -> None:
    target = np.arange(number) % classes
    logits = np.random.default_rng(0).normal(size=(number, classes)) + 8 * np.eye(classes)[target]
    shares = np.exp(log_softmax(logits / fitted(target, logits)))
    doubt = 1 - shares[np.arange(number), target].mean()
    assert 0.3 / number < doubt < 3 / number  # by Laplace's rule about one error in N + 2


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_temperatures_have_bounds(scale: float) -> None:
    assert LOWEST - 1e-6 <= fitted(TARGET, TRUTH * scale) <= HIGHEST + 1e-4


@pytest.mark.parametrize(("scale", "said"), [(-1, "the highest that is tried (20)"), (1, ""), (1e-3, "the lowest")])
def test_a_temperature_at_its_bound_is_told(scale: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(Predictions({"part": "val"}, {"target": TARGET, "logits": TRUTH * scale}), None)
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) == bool(said)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_give_no_temperature(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    broken = SURE.copy()
    broken[:2, 1] = value
    val = Predictions({"part": "val"}, {"target": TARGET, "logits": broken})
    assert classified(val) is None
    assert recorded(val, None) == {}
    assert "of validation are not examined: 2 samples have logits that are not finite" in capsys.readouterr().err


def test_bins_hold_all_samples() -> None:
    bins = binned(TARGET, SURE)
    assert sum(count for *_, count in bins) == N
    right = sum(accuracy * count for _, accuracy, count in bins)
    assert right == pytest.approx((SURE.argmax(1) == TARGET).sum())


def test_validation_gives_the_temperature() -> None:
    half = slice(0, N // 2), slice(N // 2, N)
    val, test = (Predictions({}, {"target": TARGET[it], "logits": SURE[it]}) for it in half)
    found = recorded(val, test)
    assert found["temperature"] == fitted(TARGET[half[0]], SURE[half[0]])
    assert found["calibrated"]["nll"] < found["raw"]["nll"]
    assert found["samples"] == N // 2
    assert len(found["selective"]["error"]) == 20
    assert recorded(None, test) | {"selective": None} == {
        "temperature": None, "samples": 0, "raw": found["raw"], "calibrated": None, "selective": None
    }  # fmt: skip
    untested = recorded(val, None)
    assert (untested["temperature"], untested["raw"]) == (found["temperature"], None)
    assert recorded(None, Predictions({}, {"target": TARGET[:, None] / 1.0})) == {}
