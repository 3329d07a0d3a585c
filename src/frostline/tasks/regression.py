"""Numbers per sample. Shapes: outputs (B, T) in standard deviations from the mean of training, targets (B, T) in their
own unit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from frostline.config.ranges import NonNegative
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.tasks.all_samples import Gathered
from frostline.tasks.base import Metrics, Mode, Task
from frostline.tasks.ranking import noted_of, scores_of_ranking, with_ranking

SCORES: dict[str, Mode] = {
    "loss": "min",
    "mse": "min",
    "rmse": "min",
    "mae": "min",
    "r2": "max",
    "pearson": "max",
    "spearman": "max",
}


class InUnits(nn.Module):
    """Outputs (B, T) → numbers in the unit of the targets."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, outputs: Tensor) -> Tensor:
        return outputs.float() * self.std + self.mean


class Regression(Task):
    """The network learns targets scaled to mean 0 and deviation 1; scores and predictions are in the targets' unit."""

    kind = "numbers"
    evidence_unit = "the number, in standard deviations above the mean of training"
    hub_task = "{}-regression"
    hub_samples = frozenset({"tabular"})
    gives_numbers = True
    mean: Tensor
    std: Tensor

    def __init__(self, targets: Targets, *, l1: NonNegative[float], monitor: str, mode: Literal["max", "min"]) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES | scores_of_ranking(targets))
        self.targets = targets
        self.noted = noted_of(targets) | {"val/rmse"}
        # Not persistent: a checkpoint stores them in plain values, with the names.
        self.register_buffer("mean", torch.tensor(targets.about["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(targets.about["std"]), persistent=False)

    @property
    def num_outputs(self) -> int:
        return len(self.targets.names)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss_of_rows(outputs, batch.targets)}

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of standardised targets, the mean over samples and targets."""
        return mse_loss(outputs.float(), (targets - self.mean) / self.std)

    def metrics(self) -> Metrics:
        return with_ranking(RegressionMetrics(self.targets), self.targets, first_of)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        return [*(outputs.float() * self.std + self.mean)]

    def in_units(self) -> nn.Module:
        return InUnits(self.mean, self.std)

    def encode(self, predictions: Tensor) -> Tensor:
        return (predictions - self.mean.to(predictions)) / self.std.to(predictions)

    def evidence(self, outputs: Tensor) -> Tensor:
        """The number, in standard deviations above its mean."""
        return outputs

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`target` and `predicted`, (B, T) in the unit of the targets."""
        return {"target": batch.targets, "predicted": outputs.float() * self.std + self.mean}

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """One per target, by its name; eight significant digits, about the precision of float32."""
        named = zip(self.targets.names, torch.stack([*predictions]).T.tolist(), strict=True)
        return {name: [f"{value:.8g}" for value in column] for name, column in named}


def first_of(outputs: Tensor, ranked: Mapping[str, Any]) -> Tensor:
    """(B,) of the only target. ranked: see `RankedMetrics`."""
    return outputs[:, 0]


class RegressionMetrics(Metrics):
    """Scores in the unit of the targets, and the loss of training. Several targets are averaged with equal weight."""

    def __init__(self, targets: Targets) -> None:
        super().__init__()
        self.names = targets.names
        self.mean = torch.tensor(targets.about["mean"], dtype=torch.float64)
        self.std = torch.tensor(targets.about["std"], dtype=torch.float64)
        self.gathered = Gathered()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.gathered.update(outputs, batch.targets)

    def compute(self) -> dict[str, float]:
        """`loss`, `mse`, `rmse`, `mae`, `r2`, `pearson`, `spearman` and `n`."""
        outputs, targets = self.gathered.samples()
        scores = {name: values.mean().item() for name, values in self._scores(outputs, targets).items()}
        loss = mse_loss(outputs, (targets - self.mean) / self.std).item()
        return {"loss": loss} | scores | {"n": len(targets)}

    def per_class(self) -> list[dict[str, Any]]:
        outputs, targets = self.gathered.samples()
        scores = {name: values.tolist() for name, values in self._scores(outputs, targets).items()}
        return [
            {"target": name, "n": len(targets)} | {score: values[place] for score, values in scores.items()}
            for place, name in enumerate(self.names)
        ]

    def _scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """(T,) values per score."""
        predicted = outputs * self.std + self.mean
        errors = predicted - targets
        mse = errors.square().mean(0)
        return {
            "mse": mse,
            "rmse": mse.sqrt(),
            "mae": errors.abs().mean(0),
            "r2": determination(mse, targets),
            "pearson": correlation(predicted, targets),
            "spearman": correlation(ranks(predicted), ranks(targets)),
        }

    def reset(self) -> None:
        self.gathered.reset()


def determination(mse: Tensor, targets: Tensor) -> Tensor:
    """(T,) R², 1 - mse / variance. If all targets are equal: 1 if predicted exactly, else 0, as in scikit-learn."""
    ratio = mse / torch.where(varies(targets), targets.var(0, correction=0), 1.0)
    return torch.where(varies(targets), 1 - ratio, (mse == 0).to(mse.dtype))


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each column: (N, T), (N, T) → (T,). 0 if one side is constant."""
    both = varies(a) & varies(b)
    a, b = a - a.mean(0), b - b.mean(0)
    product = a.square().sum(0).sqrt() * b.square().sum(0).sqrt()
    return torch.where(both, (a * b).sum(0) / torch.where(both, product, 1.0), 0.0).clamp(-1, 1)


def varies(values: Tensor) -> Tensor:
    """(N, T) → (T,). Compares the values, because rounding may give equal values a variance above 0."""
    return values.amax(0) > values.amin(0)


def ranks(values: Tensor) -> Tensor:
    """(N, T) → (N, T): ranks from 1 in each column; equal values share their mean rank."""
    columns = []
    for column in values.T:
        _, place, counts = column.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0)
        columns.append((last - (counts - 1) / 2)[place])
    return torch.stack(columns, 1).to(values.dtype)
