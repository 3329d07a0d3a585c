"""Multi-label scores against scikit-learn and torch, on random logits that come in uneven batches."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss
from torch import Tensor

from batches import batch, decoded, loss_of
from frostline.contracts.targets import Targets
from frostline.errors import ConfigError
from frostline.tasks.multi_label import MultiLabel, MultiLabelMetrics

SIZES = [1, 64, 13, 2, 77]


def task(labels: int, threshold: float = 0.5, **settings: Any) -> MultiLabel:
    names = [f"label {number}" for number in range(labels)]
    said: dict[str, Any] = {"l1": 0.0, "monitor": "val/loss", "mode": "min"} | settings
    return MultiLabel(Targets("labels", names, [1] * labels, {}), threshold=threshold, **said)


def drawn(labels: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Logits that favour what is true a little; labels of very different frequency; equal logits here and there."""
    draw = torch.Generator().manual_seed(seed)
    frequency = torch.rand(labels, generator=draw) * 0.8 + 0.1
    batches = []
    for size in SIZES:
        targets = (torch.rand(size, labels, generator=draw) < frequency).float()
        logits = torch.randn(size, labels, generator=draw) * 3 + 2 * targets - 1
        batches.append(((logits * 2).round() / 2, targets))
    return batches


def measured(batches: list[tuple[Tensor, Tensor]], threshold: float = 0.5) -> MultiLabelMetrics:
    metrics = task(batches[0][0].shape[1], threshold).metrics()
    for logits, targets in batches:
        metrics.update(logits, batch(targets))
    return metrics


def gathered(batches: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    logits, targets = (torch.cat(splits) for splits in zip(*batches, strict=True))
    return logits.double().sigmoid().numpy(), targets.numpy()


@pytest.mark.parametrize("threshold", [0.5, 0.2])
@pytest.mark.parametrize("labels", [2, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_scikit_learns(labels: int, seed: int, threshold: float) -> None:
    batches = drawn(labels, seed)
    probabilities, targets = gathered(batches)
    chosen = probabilities > threshold
    assert measured(batches, threshold).compute() == pytest.approx(
        {
            "loss": np.mean([log_loss(t, p, labels=[0, 1]) for t, p in zip(targets.T, probabilities.T, strict=True)]),
            "average_precision": average_precision_score(targets, probabilities, average="macro"),
            "f1_micro": f1_score(targets, chosen, average="micro"),
            "f1_macro": f1_score(targets, chosen, average="macro", zero_division=0),
            "exact_match": accuracy_score(targets, chosen),
            "n": len(targets),
        },
        rel=1e-6,
    )


def test_scores_per_label_are_scikit_learns() -> None:
    batches = drawn(7, seed=0)
    probabilities, targets = gathered(batches)
    rows = measured(batches).per_class()
    assert [row["label"] for row in rows] == [f"label {number}" for number in range(7)]
    assert [row["n"] for row in rows] == targets.sum(0).tolist()
    expected = average_precision_score(targets, probabilities, average=None)
    assert [row["average_precision"] for row in rows] == pytest.approx(list(expected))
    assert [row["f1"] for row in rows] == pytest.approx(list(f1_score(targets, probabilities > 0.5, average=None)))


def test_a_label_that_no_sample_has_is_left_out_of_the_mean() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [-1.0, 0.5, 1.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    metrics = measured([(logits, targets)])
    assert metrics.compute()["average_precision"] == pytest.approx((1.0 + 0.5) / 2)
    assert metrics.per_class()[2]["average_precision"] is None
    assert [row["f1"] for row in metrics.per_class()] == pytest.approx([1, 2 / 3, 0])
    assert metrics.compute()["f1_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    missing = measured([(torch.tensor([[2.0, -2.0, -9.0], [-2.0, 2.0, -9.0]]), targets)])
    assert missing.compute()["f1_macro"] == 1.0, "as of a class that does not occur"
    nobody = measured([(torch.full((2, 3), -5.0), targets)]).per_class()
    assert [row["f1"] for row in nobody] == [0, 0, None]


def test_confident_logits_keep_their_order() -> None:
    """The sigmoid of both 20 and 30 is 1 in float32."""
    logits, targets = torch.tensor([[20.0, 1.0], [30.0, -1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert measured([(logits, targets)]).compute()["average_precision"] == 1.0


def test_logits_that_are_no_numbers_have_scores_too() -> None:
    """The run says what is wrong when the epoch has ended."""
    logits = torch.full((4, 3), torch.nan)
    assert measured([(logits, torch.eye(4)[:, :3])]).compute()["n"] == 4


def test_a_reset_forgets_everything() -> None:
    metrics = measured(drawn(5, seed=0))
    metrics.reset()
    again = drawn(5, seed=1)
    for logits, targets in again:
        metrics.update(logits, batch(targets))
    assert metrics.compute() == measured(again).compute()


def test_the_loss_is_torchs_and_takes_mixed_targets() -> None:
    logits, targets = drawn(5, seed=0)[1]
    mixed = 0.3 * targets + 0.7 * targets.roll(1, 0)
    p = logits.double().sigmoid()
    by_hand = -(mixed * p.log() + (1 - mixed) * (1 - p).log()).mean()
    assert loss_of(task(5), logits, mixed).item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_a_table_names_the_labels_above_the_threshold() -> None:
    made = task(3, threshold=0.4)
    predictions = decoded(made, torch.tensor([[3.0, -3.0, 0.0], [-3.0, -3.0, -3.0]]))
    columns = made.columns(predictions, top_k=1)
    assert list(columns) == ["labels", "probability_label 0", "probability_label 1", "probability_label 2"]
    assert columns["labels"] == ["label 0|label 2", ""]
    assert columns["probability_label 2"] == ["0.500000", f"{1 / (1 + np.exp(3)):.6f}"]


def test_a_score_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="no score 'val/accuracy'") as refused:
        task(3, monitor="val/accuracy", mode="max")
    assert "val/average_precision" in refused.value.next_step
