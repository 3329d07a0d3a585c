"""Average precision in draws: scikit-learn's with weights, and the metric's own on pictures that are repeated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from frostline.report.box_precision import BOX_SCORES, BOXES_OF_CLASS
from frostline.report.label_precision import draws_for, label_precision
from frostline.report.resampling import bounds
from frostline.report.score_intervals import intervals_of
from frostline.report.score_parts import parts_of
from frostline.runs.predictions import Predictions

N = 60


# --- labels ---


def labelled(seed: int, *, ties: bool = False) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    target = (random.random((N, 3)) < [0.5, 0.1, 0]).astype(np.float32)  # nobody has the third label
    target[0, 1] = 1
    logits = random.normal(size=(N, 3)) + target
    logits = np.round(logits, 0 if ties else 6).astype(np.float32)
    return {"index": np.arange(N), "target": target, "logits": logits}


@pytest.mark.parametrize("ties", [False, True])
def test_labels_in_draws_are_scikit_learns_with_weights(ties: bool) -> None:
    columns = labelled(0, ties=ties)
    score = label_precision(columns, {})
    assert score is not None
    times = np.random.default_rng(1).integers(0, 4, (5, N)).astype(float)
    times[0] = 1
    found = score.of(times @ score.sums)
    for row, value in zip(times, found, strict=True):
        pairs = zip(columns["target"].T[:2], columns["logits"].T[:2], strict=True)
        each = [average_precision_score(truth, own, sample_weight=row) for truth, own in pairs if row @ truth > 0]
        assert value == pytest.approx(np.mean(each), abs=1e-9)


def test_a_label_that_a_draw_lacks_does_not_lower_it() -> None:
    columns = labelled(0)
    columns["logits"] = 4 * columns["target"] - 2
    score = label_precision(columns, {})
    assert score is not None
    times = np.ones((1, N)) * (columns["target"][:, 1] == 0)
    assert score.of(times @ score.sums) == pytest.approx([1.0])


def test_labels_of_a_run_have_an_interval() -> None:
    columns = labelled(2) | {"sample": np.array([f"s{at}" for at in range(N)])}
    score = label_precision(columns, {})
    assert score is not None
    value = float(score.of((np.ones((1, N))) @ score.sums)[0])
    found = intervals_of(Predictions({"scores": {"test/average_precision": value}}, columns))["test/average_precision"]
    assert found["low"] < value < found["high"]
    assert (found["by"], found["units"]) == ("bootstrap", N)


def test_a_second_holds_fewer_draws_of_more_samples() -> None:
    assert [draws_for(numbers) for numbers in (1, 100_000, 10**9)] == [2000, 500, 100]


# --- boxes ---


def scene(random: Any, boxes: int) -> Any:
    corner = random.random((boxes, 2)) * 150
    return np.concatenate([corner, corner + random.uniform(4, 120, (boxes, 2))], axis=1)


def detected(seed: int, pictures: int = 12) -> list[tuple[Any, Any]]:
    """Found boxes (M, 6) and true ones (N, 7) of each picture: most are moved true ones, some crowds."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(pictures):
        true = scene(random, int(random.integers(0, 6)))
        labels, crowd = random.integers(0, 3, len(true)), (random.random(len(true)) < 0.15).astype(float)
        moved = np.repeat(true, 2, axis=0) + random.normal(size=(2 * len(true), 4)) * 4
        given = np.concatenate([moved, scene(random, int(random.integers(0, 5)))])
        given[:, 2:] = np.maximum(given[:, 2:], given[:, :2] + 1)
        own = np.concatenate([np.repeat(labels, 2), random.integers(0, 3, len(given) - 2 * len(true))])
        scores = np.round(random.random(len(given)), 2 if place % 2 else 6)  # equal scores, too
        area = (true[:, 2:] - true[:, :2]).prod(1) * random.uniform(0.5, 1, len(true))
        found.append(
            (
                torch.tensor(np.column_stack([given, scores, own]), dtype=torch.float32),
                torch.tensor(np.column_stack([true, labels, crowd, area]), dtype=torch.float32),
            )
        )
    return found


def stored(pictures: list[tuple[Any, Any]]) -> dict[str, Any]:
    rows: dict[str, list[Any]] = {name: [] for name in ("index", "box", "label", "score", "crowd", "area", "is_target")}
    for place, (given, true) in enumerate(pictures):
        for table, is_target in ((true, True), (given, False)):
            for row in table.tolist():
                more = (row[4], np.nan, row[5], row[6]) if is_target else (row[5], row[4], np.nan, np.nan)
                for name, value in zip(rows, (place, row[:4], *more, is_target), strict=True):
                    rows[name].append(value)
        if not len(given) and not len(true):
            for name, value in zip(rows, (place, [np.nan] * 4, -1, *[np.nan] * 3, False), strict=True):
                rows[name].append(value)
    found = {name: np.array(values) for name, values in rows.items()}
    return found | {"label": found["label"].astype(int), "sample": found["index"].astype(str)}


@pytest.fixture(scope="module")
def metric() -> Callable[[list[tuple[Any, Any]]], dict[str, float]]:
    pytest.importorskip("faster_coco_eval", reason="the extra 'detection' is not installed")
    from frostline.tasks.average_precision import NAMES, _precision

    def scores(pictures: list[tuple[Any, Any]]) -> dict[str, float]:
        found = _precision(pictures, by_class=False)
        return {name: float(score) for name, score in found.items() if name in NAMES and score >= 0}

    return scores


@pytest.mark.parametrize("seed", range(6))
def test_boxes_have_the_scores_of_the_metric(seed: int, metric: Callable[..., dict[str, float]]) -> None:
    pictures = detected(seed)
    wanted, columns = metric(pictures), stored(pictures)
    found = {}
    for name in wanted:
        score = BOX_SCORES[name][0](columns, {})
        assert score is not None
        found[name] = float(score.of(np.ones((1, len(pictures))))[0])
    assert len(found) >= 9
    assert found == pytest.approx(wanted, abs=1e-6)


def test_boxes_in_draws_are_those_of_repeated_pictures(metric: Callable[..., dict[str, float]]) -> None:
    """The metric goes through equal scores one by one, so scores of repeated pictures differ a little."""
    pictures = detected(7, 30)
    columns = stored(pictures)
    times = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), 4).astype(float)
    for name, close in (("map", 0.02), ("mar_100", 1e-6)):
        score = BOX_SCORES[name][0](columns, {})
        assert score is not None
        for row, value in zip(times, score.of(times), strict=True):
            repeated = [picture for picture, often in zip(pictures, row, strict=True) for _ in range(int(often))]
            assert value == pytest.approx(metric(repeated)[name], abs=close), name


def test_boxes_of_a_run_have_intervals(metric: Callable[..., dict[str, float]]) -> None:
    pictures = detected(8, 60)
    scores = {f"test/{name}": value for name, value in metric(pictures).items()}
    found = intervals_of(Predictions({"scores": scores | {"test/n": 60.0}}, stored(pictures)))
    assert {*found} == {*scores}
    assert all(it["low"] < scores[name] < it["high"] for name, it in found.items())
    assert {(it["by"], it["units"]) for it in found.values()} == {("bootstrap", 60)}
    doubts = {name: it["caution"] for name, it in found.items()}
    assert {doubts[name] for name in scores if name.startswith("test/map")} == {"only 60 samples"}
    assert doubts["test/mar_100"] == ""


def test_intervals_of_few_draws_stay_within_the_range_of_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.report.label_precision.SECOND", 1)
    columns = labelled(4) | {"sample": np.array([f"s{at}" for at in range(N)])}
    columns["logits"] = 4 * columns["target"] + np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32) * 1.4
    score = label_precision(columns, {})
    assert score is not None
    assert score.draws == 100
    scores = {"test/average_precision": float(score.of(np.ones((1, N)))[0])}
    own = intervals_of(Predictions({"scores": scores}, columns))["test/average_precision"]
    assert 0.8 < own["low"] < scores["test/average_precision"] <= own["high"] <= 1.0


def test_a_difference_of_few_draws_may_be_below_zero() -> None:
    low, high = bounds(np.random.default_rng(0).normal(-0.05, 0.01, 200), -0.05, 0.0, 400, 1)
    assert (low, high) == (pytest.approx(-0.07, abs=0.004), pytest.approx(-0.03, abs=0.004))


def test_many_classes_of_few_boxes_are_told() -> None:
    """The excess of each precision stays in a mean over many classes, whose error is small."""
    pictures = detected(1, 200)
    boxes, columns = stored(pictures), {}
    for name in ("test/map", "test/mar_100"):
        score = BOX_SCORES[name.removeprefix("test/")][0](boxes, {})
        assert score is not None
        columns[name] = float(score.of(np.ones((1, 200)))[0])
    few = min(sum(int(((true[:, 4] == label) & (true[:, 5] == 0)).sum()) for _, true in pictures) for label in range(3))
    found = intervals_of(Predictions({"scores": columns}, boxes))
    wanted = f"a class with only {few} samples" if few < 3 * BOXES_OF_CLASS else ""
    assert (found["test/map"]["caution"], found["test/mar_100"]["caution"]) == (wanted, "")


def test_few_positives_are_told() -> None:
    columns = labelled(2) | {"sample": np.array([f"s{at}" for at in range(N)])}
    positives = int(columns["target"][:, 1].sum())
    score = label_precision(columns, {})
    assert score is not None
    scores = {"test/average_precision": float(score.of(np.ones((1, N)))[0])}
    found = intervals_of(Predictions({"scores": scores}, columns))["test/average_precision"]
    assert found["caution"] == f"a class with only {positives} samples"


def test_rows_in_another_order_are_the_same_samples() -> None:
    columns = labelled(3)
    order = np.random.default_rng(0).permutation(N)
    other = {name: values[order] for name, values in columns.items()}
    times = np.random.default_rng(1).integers(0, 4, (5, N)).astype(float)
    found = []
    for rows, index in ((columns, np.arange(N)), (other, order)):
        score = label_precision(rows, {})
        assert score is not None
        found.append(score.of(times[:, index] @ score.sums))
    assert found[0] == pytest.approx(found[1])


def test_pictures_without_true_boxes_are_found_wrong(metric: Callable[..., dict[str, float]]) -> None:
    pictures = [(found, true if place == 0 else true[:0]) for place, (found, true) in enumerate(detected(9))]
    score = BOX_SCORES["map"][0](stored(pictures), {})
    assert score is not None
    assert score.of(np.ones((1, len(pictures)))) == pytest.approx([metric(pictures)["map"]], abs=1e-6)


def test_no_boxes_at_all_have_no_interval() -> None:
    columns = stored([(torch.zeros(0, 6), torch.zeros(0, 7))] * 3)
    assert parts_of(Predictions({"scores": {"test/map": -1.0}}, columns), "test/map") is None
