"""Scores that are computed again from kept predictions are those of the task."""

import numpy as np
import pytest
import torch

from batches import batch
from frostline.report.score_parts import parts_of
from frostline.runs.predictions import Predictions
from frostline.tasks.multi_label import MultiLabelMetrics

LABELS = ["both", "predicted", "true", "neither"]


@pytest.mark.parametrize("nowhere", [False, True])
def test_the_mean_f1_of_labels_leaves_out_what_is_nowhere(nowhere: bool) -> None:
    random = np.random.default_rng(0)
    target = (random.random((40, 4)) < [0.5, 0, 0.3, 0 if nowhere else 0.2]).astype(np.float32)
    logits = random.normal(size=(40, 4)).astype(np.float32)
    logits[:, 2:] -= 9
    metrics = MultiLabelMetrics(LABELS, 0.5)
    metrics.update(torch.from_numpy(logits), batch(torch.from_numpy(target)))
    f1 = metrics.compute()["f1_macro"]
    assert [row["f1"] is None for row in metrics.per_class()] == [False, False, False, nowhere]
    own = {"sample": np.array([f"{row}.png" for row in range(40)]), "index": np.arange(40)}
    found = parts_of(
        Predictions({"scores": {"test/f1_macro": f1}}, own | {"target": target, "logits": logits}), "test/f1_macro"
    )
    assert found is not None
    assert found.value == pytest.approx(f1)
