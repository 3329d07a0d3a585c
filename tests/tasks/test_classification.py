"""Classification against scikit-learn and torch, on random logits that come in uneven batches."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support, top_k_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from batches import batch, decoded, loss_of
from frostline.contracts.targets import Targets
from frostline.tasks.classification import Classification, ClassificationMetrics

SIZES = [1, 64, 13, 2, 77]


def task(
    counts: list[int], class_weights: Literal["none", "balanced"] = "none", smoothing: float = 0.0
) -> Classification:
    names = [f"class {number}" for number in range(len(counts))]
    return Classification(
        Targets("class", names, counts, {}),
        label_smoothing=smoothing,
        class_weights=class_weights,
        l1=0.0,
        monitor="val/loss",
        mode="min",
    )


def drawn(num_classes: int, seed: int, sizes: Iterable[int] = SIZES) -> list[tuple[Tensor, Tensor]]:
    """Logits that favour the true class a little, and not every class equally often."""
    draw = torch.Generator().manual_seed(seed)
    frequency = torch.rand(num_classes, generator=draw) + 0.05
    targets = [torch.multinomial(frequency, size, replacement=True, generator=draw) for size in sizes]
    return [(torch.randn(len(t), num_classes, generator=draw) + 1.5 * one_hot(t, num_classes), t) for t in targets]


def gathered(batches: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    logits, targets = (torch.cat(splits) for splits in zip(*batches, strict=True))
    return logits.numpy(), targets.numpy()


def measured(num_classes: int, batches: list[tuple[Tensor, Tensor]]) -> ClassificationMetrics:
    metrics = task([1] * num_classes).metrics()
    for logits, targets in batches:
        metrics.update(logits, batch(targets))
    return metrics


def truth(num_classes: int, logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted, classes = logits.argmax(1), list(range(num_classes))
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    values = {
        "loss": log_loss(targets, probabilities, labels=classes),
        "accuracy": accuracy_score(targets, predicted),
        "f1_macro": f1_score(targets, predicted, average="macro"),
        "n": len(targets),
    }
    if num_classes > 5:
        values["accuracy_top5"] = top_k_accuracy_score(targets, logits, k=5, labels=classes)
    return values


# --- scores ---


@pytest.mark.parametrize("num_classes", [2, 3, 7, 40])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_scikit_learns(num_classes: int, seed: int) -> None:
    batches = drawn(num_classes, seed)
    assert measured(num_classes, batches).compute() == pytest.approx(truth(num_classes, *gathered(batches)), rel=1e-5)


def test_scores_do_not_depend_on_how_the_samples_were_batched() -> None:
    batches = drawn(7, seed=0)
    logits, targets = (torch.cat(splits) for splits in zip(*batches, strict=True))
    in_one = measured(7, [(logits, targets)])
    one_by_one = measured(7, list(zip(logits.split(1), targets.split(1), strict=True)))
    assert in_one.compute() == pytest.approx(one_by_one.compute(), rel=1e-5)
    assert in_one.per_class() == one_by_one.per_class()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.filterwarnings("ignore:Encountered `nan`")  # in the loss
def test_scores_of_ties_and_of_nan_are_torchmetrics(kind: torch.dtype) -> None:
    (logits, targets), *_ = drawn(8, seed=1, sizes=[50])
    logits = logits.round()  # ties within the five and at their end
    logits[7], logits[8, 3] = torch.nan, torch.nan
    logits = logits.to(kind)
    found = measured(8, [(logits, targets)]).compute()
    others = {
        "accuracy": MulticlassAccuracy(8, average="micro"),
        "f1_macro": MulticlassF1Score(8, average="macro"),
        "accuracy_top5": MulticlassAccuracy(8, average="micro", top_k=5),
    }
    expected = {name: float(metric(logits.float(), targets)) for name, metric in others.items()}
    assert {name: found[name] for name in others} == pytest.approx(expected, rel=1e-6)


def test_classes_that_never_occur_do_not_lower_the_macro_f1() -> None:
    logits = torch.eye(6)[[0, 1, 2, 2]]
    targets = torch.tensor([0, 1, 2, 0])  # classes 3 to 5 are neither true nor predicted
    assert measured(6, [(logits, targets)]).compute()["f1_macro"] == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_top_5_is_left_out_where_it_would_say_nothing(num_classes: int) -> None:
    assert set(measured(num_classes, drawn(num_classes, seed=0)).compute()) == {"loss", "accuracy", "f1_macro", "n"}


@pytest.mark.parametrize("num_classes", [3, 7, 40])
def test_scores_per_class_are_scikit_learns(num_classes: int) -> None:
    batches = drawn(num_classes, seed=0)
    logits, targets = gathered(batches)
    columns = precision_recall_fscore_support(
        targets, logits.argmax(1), labels=list(range(num_classes)), zero_division=math.nan
    )
    rows = measured(num_classes, batches).per_class()
    assert [row["class"] for row in rows] == [f"class {number}" for number in range(num_classes)]
    for name, column in zip(("precision", "recall", "f1", "n"), columns, strict=True):
        assert [math.nan if row[name] is None else row[name] for row in rows] == pytest.approx(
            list(column), nan_ok=True
        )


def test_a_class_without_samples_has_no_recall_and_one_that_nobody_predicts_no_precision() -> None:
    metrics = ClassificationMetrics(["both", "predicted", "true", "neither"])
    metrics.update(torch.eye(4)[[0, 1, 0]], batch(torch.tensor([0, 0, 2])))
    rows = [[row[name] for name in ("n", "precision", "recall", "f1")] for row in metrics.per_class()]
    assert rows == [[2, 0.5, 0.5, 0.5], [0, 0.0, None, 0.0], [1, None, 0.0, 0.0], [0, None, None, None]]


def test_a_reset_forgets_everything() -> None:
    metrics = measured(7, drawn(7, seed=0))
    metrics.reset()
    again = drawn(7, seed=1)
    for logits, targets in again:
        metrics.update(logits, batch(targets))
    assert metrics.compute() == pytest.approx(truth(7, *gathered(again)), rel=1e-5)
    assert sum(row["n"] for row in metrics.per_class()) == sum(SIZES)


def test_scores_are_of_full_precision_whatever_the_logits_are() -> None:
    logits, targets = drawn(7, seed=0, sizes=[64])[0]
    rounded = logits.bfloat16()
    assert measured(7, [(rounded, targets)]).compute() == measured(7, [(rounded.float(), targets)]).compute()


def test_the_scores_of_the_loss_are_plain_whatever_the_training_adds() -> None:
    batches = drawn(3, seed=0)
    metrics = task([5, 1, 1], "balanced", smoothing=0.2).metrics()
    for logits, targets in batches:
        metrics.update(logits, batch(targets))
    assert metrics.compute()["loss"] == pytest.approx(truth(3, *gathered(batches))["loss"], rel=1e-5)


# --- the loss ---


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_loss_is_torchs_with_its_smoothing_and_weights(smoothing: float, class_weights: Any) -> None:
    counts = [50, 30, 15, 5]
    logits, targets = drawn(4, seed=0, sizes=[64])[0]
    weight = torch.tensor([100 / (4 * count) for count in counts]) if class_weights == "balanced" else None
    each = nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")(logits, targets)
    expected = each.mean() if weight is None else (each * weight[targets]).mean()
    torch.testing.assert_close(loss_of(task(counts, class_weights, smoothing), logits, targets), expected)


@pytest.mark.parametrize("counts", [[1, 1], [50, 30, 15, 5], [7, 1, 1, 1, 90]])
def test_balanced_class_weights_are_scikit_learns(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    assert Counter(labels.tolist()) == dict(enumerate(counts))
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    weights = task(counts, "balanced").class_weights
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())
    assert task(counts).class_weights is None


def test_class_weights_move_with_the_task_and_stay_out_of_its_checkpoint() -> None:
    it = task([3, 1], "balanced")
    assert it.state_dict() == {}
    assert it.double().class_weights.dtype == torch.float64  # type: ignore[union-attr]


def test_soft_targets_are_the_mean_over_their_classes() -> None:
    logits = drawn(4, seed=0, sizes=[16])[0][0]
    soft = torch.rand(16, 4).softmax(dim=1)
    expected = -(soft * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss_of(task([1] * 4), logits, soft), expected)


def test_weights_without_smoothing_are_torchs() -> None:
    logits, targets = drawn(4, seed=0, sizes=[16])[0]
    it = task([50, 30, 15, 5], "balanced")
    for wanted in (targets, torch.rand(16, 4).softmax(dim=1)):
        expected = nn.functional.cross_entropy(logits, wanted, it.class_weights, reduction="none").mean()
        torch.testing.assert_close(loss_of(it, logits, wanted), expected)


def test_smoothing_favours_no_rare_class_over_the_true_one() -> None:
    """With torch's own class weights, class 2 would have the lowest loss for a sample of class 0."""
    logits = torch.zeros(1, 3, requires_grad=True)
    it = task([900, 80, 20], "balanced", smoothing=0.1)
    for _ in range(200):
        (grad,) = torch.autograd.grad(loss_of(it, logits, torch.tensor([0])), logits)
        logits.data -= 2 * grad
    torch.testing.assert_close(logits.softmax(1)[0], torch.tensor([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_soft_targets_that_are_certain_are_hard_targets(class_weights: Any) -> None:
    logits, targets = drawn(4, seed=0, sizes=[16])[0]
    it = task([50, 30, 15, 5], class_weights, smoothing=0.1)
    torch.testing.assert_close(loss_of(it, logits, one_hot(targets, 4).float()), loss_of(it, logits, targets))


def test_half_precision_logits_are_weighed_in_full_precision() -> None:
    logits, targets = drawn(4, seed=0, sizes=[16])[0]
    loss = loss_of(task([1] * 4), logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits.bfloat16().float(), targets))


# --- predictions, outputs ---


def test_probabilities_sum_to_one_and_keep_the_order_of_the_logits() -> None:
    logits = drawn(7, seed=0, sizes=[16])[0][0]
    probabilities = decoded(task([1] * 7), logits.bfloat16())
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(16))
    assert torch.equal(probabilities.argmax(dim=1), logits.bfloat16().argmax(dim=1))


def test_there_is_an_output_for_each_class() -> None:
    assert task([4, 5, 6]).num_outputs == 3


def test_probabilities_of_other_models_become_logits() -> None:
    own, probabilities = task([1, 2, 3]), torch.tensor([[0.5, 0.25, 0.25], [1e-9, 0.9, 0.1]], dtype=torch.float64)
    for temperature in (1.0, 2.5):
        own.calibrate(temperature)
        decoded = torch.stack(own.decode(own.encode(probabilities), batch(torch.zeros(2, dtype=torch.long))))
        torch.testing.assert_close(decoded, probabilities.float())
