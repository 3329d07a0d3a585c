"""Regression scores against scikit-learn and SciPy, on random outputs that come in uneven batches."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor

from batches import batch, decoded, loss_of
from frostline.contracts.targets import Targets
from frostline.errors import ConfigError
from frostline.tasks.regression import Regression, RegressionMetrics, correlation, ranks

SIZES = [1, 64, 13, 2, 77]
MEAN, STD = [1000.0, -2.0, 0.001], [250.0, 0.5, 2e-4]


def task(columns: int = 3, **settings: Any) -> Regression:
    names = [f"target {number}" for number in range(columns)]
    said: dict[str, Any] = {"l1": 0.0, "monitor": "val/loss", "mode": "min"} | settings
    return Regression(Targets("numbers", names, [], {"mean": MEAN[:columns], "std": STD[:columns]}), **said)


def drawn(columns: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Outputs in standard deviations and targets in their unit; equal values here and there."""
    draw = torch.Generator().manual_seed(seed)
    batches = []
    for size in SIZES:
        z = (torch.randn(size, columns, generator=draw) * 4).round() / 4
        outputs = ((z + torch.randn(size, columns, generator=draw)) * 4).round() / 4
        batches.append((outputs, z * torch.tensor(STD[:columns]) + torch.tensor(MEAN[:columns])))
    return batches


def measured(batches: list[tuple[Tensor, Tensor]]) -> RegressionMetrics:
    metrics = task(batches[0][0].shape[1]).metrics()
    for outputs, targets in batches:
        metrics.update(outputs, batch(targets))
    return metrics


def gathered(batches: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets, both in the targets' unit."""
    outputs, targets = (torch.cat(splits).double().numpy() for splits in zip(*batches, strict=True))
    columns = outputs.shape[1]
    return outputs * np.array(STD[:columns]) + np.array(MEAN[:columns]), targets


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_scikit_learns_and_scipys(columns: int, seed: int) -> None:
    batches = drawn(columns, seed)
    predicted, targets = gathered(batches)
    pairs = list(zip(predicted.T, targets.T, strict=True))
    z = (targets - np.array(MEAN[:columns])) / np.array(STD[:columns])
    outputs = torch.cat([batch[0] for batch in batches]).double().numpy()
    assert measured(batches).compute() == pytest.approx(
        {
            "loss": mean_squared_error(z, outputs),
            "mse": mean_squared_error(targets, predicted),
            "rmse": np.mean([mean_squared_error(*pair) ** 0.5 for pair in pairs]),
            "mae": mean_absolute_error(targets, predicted),
            "r2": r2_score(targets, predicted),
            "pearson": np.mean([pearsonr(*pair).statistic for pair in pairs]),
            "spearman": np.mean([spearmanr(*pair).statistic for pair in pairs]),
            "n": len(targets),
        },
        rel=1e-9,
    )


def test_scores_per_target_are_its_own() -> None:
    batches = drawn(3, seed=0)
    predicted, targets = gathered(batches)
    rows = measured(batches).per_class()
    assert [(row["target"], row["n"]) for row in rows] == [(f"target {number}", sum(SIZES)) for number in range(3)]
    expected = r2_score(targets, predicted, multioutput="raw_values")
    assert [row["r2"] for row in rows] == pytest.approx(list(expected))
    assert [row["spearman"] for row in rows] == pytest.approx(
        [spearmanr(p, t).statistic for p, t in zip(predicted.T, targets.T, strict=True)]
    )


def test_equal_values_share_the_mean_place() -> None:
    values = torch.tensor([[3.0], [1.0], [3.0], [2.0], [3.0]])
    assert ranks(values).flatten().tolist() == rankdata(values.flatten().numpy()).tolist()


def test_what_does_not_vary_correlates_with_nothing() -> None:
    """Not even in the rounding errors of its mean."""
    same, others = torch.full((7, 1), 0.1, dtype=torch.float64), torch.arange(7.0, dtype=torch.float64)[:, None]
    assert correlation(same, others).tolist() == correlation(others, same).tolist() == [0.0]
    assert correlation(others, 3 - 2 * others).item() == pytest.approx(-1)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_equal_targets_are_determined_where_they_are_met(offset: float) -> None:
    targets = torch.full((5, 1), MEAN[0])
    metrics = measured([(torch.full((5, 1), offset), targets)])
    assert metrics.compute()["r2"] == r2_score(targets.numpy(), targets.numpy() + offset * STD[0])


def test_outputs_that_are_no_numbers_have_scores_too() -> None:
    """The run says what is wrong when the epoch has ended."""
    assert measured([(torch.full((4, 2), torch.nan), torch.ones(4, 2))]).compute()["n"] == 4


def test_a_single_sample_has_scores() -> None:
    """torchmetrics squeezes what holds one number."""
    metrics = measured([(torch.tensor([[0.5]]), torch.tensor([[MEAN[0] + STD[0]]]))])
    scores = metrics.compute()
    assert (scores["n"], scores["loss"], scores["r2"]) == (1, pytest.approx(0.25), 0.0)
    assert scores["mae"] == pytest.approx(STD[0] / 2)
    assert metrics.per_class()[0]["mae"] == scores["mae"]


def test_a_reset_forgets_everything() -> None:
    metrics = measured(drawn(2, seed=0))
    metrics.reset()
    again = drawn(2, seed=1)
    for outputs, targets in again:
        metrics.update(outputs, batch(targets))
    assert metrics.compute() == measured(again).compute()


def test_the_loss_counts_in_standard_deviations() -> None:
    targets = torch.tensor([MEAN]) + torch.tensor([STD]) * torch.tensor([[1.0, -2.0, 0.0]])
    assert loss_of(task(), torch.zeros(1, 3), targets).item() == pytest.approx(5 / 3, rel=1e-4)


def test_predictions_are_in_the_unit_of_the_targets() -> None:
    predictions = decoded(task(), torch.tensor([[1.0, -2.0, 0.0]]))
    assert predictions[0].tolist() == pytest.approx([1250.0, -3.0, 0.001])
    assert task().columns(predictions, top_k=5) == {"target 0": ["1250"], "target 1": ["-3"], "target 2": ["0.001"]}


def test_a_score_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="no score 'val/accuracy'") as refused:
        task(monitor="val/accuracy", mode="max")
    assert "val/r2" in refused.value.next_step


def test_predictions_of_other_models_become_outputs() -> None:
    own, predictions = task(), torch.tensor([[1200.0, -1.5, 0.0], [0.5, 3.0, 0.002]], dtype=torch.float64)
    outputs = own.encode(predictions)
    assert outputs.dtype == torch.float64
    torch.testing.assert_close(outputs[0, :2], torch.tensor([0.8, 1.0], dtype=torch.float64))
    torch.testing.assert_close(torch.stack(own.decode(outputs, batch(predictions))), predictions.float())
