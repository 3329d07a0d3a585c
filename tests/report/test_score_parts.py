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


def test_a_score_has_an_interval_if_the_task_stores_its_value_for_each_sample() -> None:
    within = np.random.default_rng(0).random(60) < 0.8
    own = {"sample": np.array([f"{row}.png" for row in range(60)]), "index": np.arange(60)}
    scores = {"test/coverage": float(within.mean()), "test/width": 3.0}
    kept = Predictions(
        {"scores": scores}, own | {"target": np.zeros(60), "coverage": within, "width": np.full(60, 2.0)}
    )
    found = parts_of(kept, "test/coverage")
    assert found is not None
    assert found.value == pytest.approx(within.mean())
    assert parts_of(kept, "test/width") is None  # its mean is not the recorded score
    right = Predictions({"scores": {"test/right": 0.5}}, own | {"target": np.zeros(60), "right": np.arange(60) < 30})
    assert parts_of(right, "test/right") is not None  # a name that tasks with pixels use for counts by class
