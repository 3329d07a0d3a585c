"""Scores of confidence are scikit-learn's and torchmetrics'; the temperature is SciPy's; intervals hold the truth."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from frostline.report.calibration import BINS, binned, calibration, fitted, log_softmax, nll, recorded
from frostline.runs.predictions import Predictions

N, K = 800, 4
random = np.random.default_rng(0)
TRUTH = random.normal(size=(N, K)) * 2
SHARES = np.exp(log_softmax(TRUTH))
TARGET = np.array([random.choice(K, p=share) for share in SHARES])
SURE = TRUTH * 3  # three times too sure


def test_scores_are_those_of_others() -> None:
    found = calibration(TARGET, SURE)
    shares = np.exp(log_softmax(SURE))
    assert found.nll == pytest.approx(log_loss(TARGET, shares, labels=range(K)))
    each = [brier_score_loss(at == TARGET, shares[:, at]) for at in range(K)]
    assert found.brier == pytest.approx(sum(each))
    truth = multiclass_calibration_error(torch.from_numpy(shares), torch.from_numpy(TARGET), K, n_bins=BINS)
    assert found.ece == pytest.approx(float(truth), abs=1e-6)
    assert found.low <= found.ece <= found.high


def test_the_temperature_mends_what_is_too_sure() -> None:
    temperature = fitted(TARGET, SURE)
    truth = minimize_scalar(lambda it: nll(TARGET, SURE, it), bounds=(0.1, 10), method="bounded").x
    assert temperature == pytest.approx(truth, rel=1e-3)
    assert temperature == pytest.approx(3, rel=0.15)
    assert calibration(TARGET, SURE, temperature).ece < calibration(TARGET, SURE).ece / 3


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
    assert recorded(None, test) == {"raw": found["raw"], "temperature": None, "calibrated": None}
    assert recorded(val, Predictions({}, {"target": TARGET[:, None] / 1.0})) == {}
