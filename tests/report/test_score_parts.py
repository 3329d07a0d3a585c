"""Scores that are computed again from kept predictions are those of the task."""

import json

import numpy as np
import pytest
import torch

from batches import batch
from frostline.contracts.ratios import Ratio
from frostline.report.sample_values import values_of
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
    wide = own | {"target": np.zeros((60, 2)), "deviance": np.stack([within, 2.0 * within], axis=1)}
    several = Predictions({"scores": {"test/deviance": 1.5 * float(within.mean())}}, wide)
    assert parts_of(several, "test/deviance") is not None  # a column for each target counts as their mean
    right = Predictions({"scores": {"test/right": 0.5}}, own | {"target": np.zeros(60), "right": np.arange(60) < 30})
    assert parts_of(right, "test/right") is not None  # a name that tasks with pixels use for counts by class


def counted(target: list[list[int]], given: list[list[int]], **about: object) -> Predictions:
    """Rows of counts by class, each right as often as both have it."""
    truth, answers = np.array(target), np.array(given)
    rows = len(truth)
    columns = {"sample": np.array([f"{row}.png" for row in range(rows)]), "index": np.arange(rows)}
    return Predictions(dict(about), columns | {"target": truth, "given": answers, "hits": np.minimum(truth, answers)})


def test_a_task_declares_scores_as_ratios_of_sums() -> None:
    """Twice the hits by what is wanted and given. The last class occurs nowhere, the third in answers alone."""
    quality = Ratio({"hits": 2}, {"target": 1, "given": 1}, by_class=True)
    shares = {"pooled": Ratio({"hits": 1}, {"target": 1}), "hits_each": Ratio({"hits": 1})}
    ratios = {name: json.loads(json.dumps(it.stored())) for name, it in {"quality": quality, **shares}.items()}
    scores = {"test/quality": (8 / 10 + 4 / 6 + 0) / 3, "test/pooled": 6 / 8, "test/hits_each": 6 / 12}
    target, given = [[2, 1, 0, 0], [1, 1, 0, 0], [1, 2, 0, 0]], [[3, 1, 1, 0], [1, 0, 0, 0], [2, 1, 0, 0]]
    found = counted(target, given, scores=scores, ratios=ratios)
    for name, value in scores.items():
        score = parts_of(found, name)
        assert score is not None, name
        assert score.value == pytest.approx(value)
    drawn = parts_of(found, "test/quality")
    assert drawn is not None
    assert drawn.score.rarest == 3  # samples that have each class that occurs
    alone = drawn.of(drawn.sums[1:2])
    assert alone == pytest.approx([(1 + 0) / 2])  # its two classes alone
    assert values_of(found, "quality") == pytest.approx([(4 / 5 + 1 + 0) / 3, 1 / 2, (2 / 3 + 2 / 3) / 2])


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {"quality": "hits"},
        {"quality": {"above": {}, "below": {}, "by_class": True}},
        {"quality": {"above": {"hits": "2"}, "below": {}, "by_class": False}},
        {"quality": {"above": {"sample": 1}, "below": {}, "by_class": False}},
        {"quality": {"above": {"lost": 1}, "below": {}, "by_class": False}},
        {"quality": {"above": {"hits": 1}, "below": {"hits": 1}, "by_class": 1}},
        {"quality": {"above": {"hits": 1}, "below": {"index": 1}, "by_class": True}},
        {"quality": {"above": {"hits": 1}, "below": {"index": -1, "hits": -1}, "by_class": False}},
        {"quality": {"above": {"hits": 10**400}, "below": {}, "by_class": False}},
    ],
)
def test_ratios_of_another_form_are_no_scores(stored: object) -> None:
    found = counted([[1, 0], [0, 1]], [[1, 1], [0, 1]], scores={"test/quality": 1.0}, ratios=stored)
    assert parts_of(found, "test/quality") is None


def test_neither_no_rows_nor_an_infinite_record_have_a_score() -> None:
    ratios = {"quality": Ratio({"hits": 1}, {"target": 1}).stored()}
    none = counted(np.zeros((0, 2)).tolist(), np.zeros((0, 2)).tolist(), scores={"test/quality": 0.0}, ratios=ratios)
    assert parts_of(none, "test/quality") is None
    endless = counted([[0, 0]], [[1, 1]], scores={"test/quality": float("inf")}, ratios=ratios)
    assert parts_of(endless, "test/quality") is None
