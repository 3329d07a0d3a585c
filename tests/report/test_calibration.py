"""Scores of confidence are scikit-learn's and torchmetrics'; intervals hold the truth."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from frostline.report.calibration import (
    BINS,
    Calibration,
    believed,
    binned,
    examined,
    log_softmax,
)

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


def test_bins_hold_all_samples() -> None:
    bins = binned(TARGET, SURE)
    assert sum(count for *_, count in bins) == N
    right = sum(accuracy * count for _, accuracy, count in bins)
    assert right == pytest.approx((SURE.argmax(1) == TARGET).sum())
