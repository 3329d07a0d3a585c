"""One class per sample. Shapes: logits (B, C), targets (B,) class indices or (B, C) probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from frostline.config.ranges import NonNegative, Probability
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.tasks.base import Metrics, Mode, Task, quotients
from frostline.tasks.ranking import noted_of, scores_of_ranking, with_ranking

TOP_K = 5


class Classification(Task):
    """class_weights: `balanced` weights classes by `balanced_weights`. temperature: divides the logits of `decode`;
    losses and scores are without it."""

    kind = "class"
    evidence_unit = "the logit of the answer, less the mean of all logits"
    hub_task = "{}-classification"
    shares = frozenset({"val/accuracy", f"val/accuracy_top{TOP_K}"})

    def __init__(
        self,
        targets: Targets,
        *,
        label_smoothing: Probability,
        class_weights: Literal["none", "balanced"],
        l1: NonNegative[float],
        monitor: str,
        mode: Literal["max", "min"],
    ) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=scores_of(targets))
        self.targets = targets
        self.noted = noted_of(targets)
        self.classes = targets.names
        self.num_classes = len(self.classes)
        self.label_smoothing = label_smoothing
        self.temperature = 1.0
        self.class_weights: Tensor | None
        balanced = balanced_weights(targets.counts) if class_weights == "balanced" else None
        # Not persistent: it is computed from the data, so checkpoints need not store it.
        self.register_buffer("class_weights", balanced, persistent=False)

    @property
    def num_outputs(self) -> int:
        return self.num_classes

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss_of_rows(outputs, batch.targets)}

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean of weighted losses over samples. Unlike torch's own it is not divided by the sum of weights, so that
        the mean over shares of a batch is the mean over the whole batch."""
        return weighed_loss(outputs.float(), targets, self.class_weights, self.label_smoothing).mean()

    def metrics(self) -> Metrics:
        own = ClassificationMetrics(self.classes)
        return with_ranking(own, self.targets, log_odds)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        return [*self.probabilities(outputs)]

    def encode(self, predictions: Tensor) -> Tensor:
        return predictions.log() * self.temperature

    def calibrate(self, temperature: float) -> None:
        self.temperature = temperature

    def probabilities(self, logits: Tensor) -> Tensor:
        return (logits.float() / self.temperature).softmax(dim=1)

    def evidence(self, outputs: Tensor) -> Tensor:
        """The logit of a class less the mean of all: what is added to every logit changes no probability."""
        return outputs - outputs.mean(-1, keepdim=True)

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """`label`, `probability`, then those of the next classes: `label_2`, `probability_2`, ..."""
        return best_columns(torch.stack([*predictions]), self.classes, top_k, "label")


def log_odds(logits: Tensor, ranked: Mapping[str, Any]) -> Tensor:
    """(B,) of the relevant class: its probability may round to 1 for several samples. ranked: see `RankedMetrics`."""
    place = int(ranked["relevant"])
    others = torch.cat([logits[:, :place], logits[:, place + 1 :]], 1)
    return logits[:, place] - others.logsumexp(1)


def best_columns(probabilities: Tensor, names: list[str], top_k: int, header: str) -> dict[str, list[str]]:
    """(N, C) → two columns for each of the `top_k` most probable names: `header` with the names and `probability`, then
    both with the suffix _2, ..."""
    best = probabilities.topk(min(top_k, len(names)), dim=1)
    columns: dict[str, list[str]] = {}
    for rank, (indices, values) in enumerate(zip(best.indices.T.tolist(), best.values.T.tolist(), strict=True)):
        end = f"_{rank + 1}" if rank else ""
        columns[f"{header}{end}"] = [names[index] for index in indices]
        columns[f"probability{end}"] = [f"{value:.6f}" for value in values]
    return columns


def weighed_loss(logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """(B,) smoothed cross-entropy of each sample, times the weight of its class; for targets that are probabilities,
    their mean. torch's own weights each class's smoothed share by that class: if counts are very uneven, a rare class
    then counts more than the true one. 0 for samples without a class (NO_TAG, torch's `ignore_index`)."""
    if weights is None:
        return cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    if targets.is_floating_point():
        weighed = targets * weights
        spread = weighed.sum(1, keepdim=True) / weighed.shape[1]
        return cross_entropy(logits, (1 - smoothing) * weighed + smoothing * spread, reduction="none")
    each = cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    return each * weights[targets.clamp(min=0)]


def balanced_weights(counts: list[int]) -> Tensor:
    """(C,) N / (C · count) each, as in scikit-learn's `compute_class_weight`, with C counting only classes that occur.
    0 for a class that does not, as a tag may: there is nothing to learn about it."""
    counted = torch.tensor(counts, dtype=torch.float32)
    there = counted > 0
    return torch.where(there, counted.sum() / (there.sum() * counted.clamp(min=1)), 0.0)


def scores_of(targets: Targets) -> dict[str, Mode]:
    scores: dict[str, Mode] = {"loss": "min", "accuracy": "max", "f1_macro": "max"}
    scores |= {f"accuracy_top{TOP_K}": "max"} if len(targets.names) > TOP_K else {}
    return scores | scores_of_ranking(targets)


class ClassificationMetrics(Metrics):
    """The loss is plain cross-entropy, without smoothing, weights or penalties, so that runs can be compared."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        num_classes = len(classes)
        self.confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self.top = MeanMetric() if num_classes > TOP_K else None
        self.loss = MeanMetric()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        outputs, targets = outputs.float(), batch.targets
        self.confusion.update(outputs, targets)
        if self.top is not None:
            self.top.update((outputs.topk(TOP_K).indices == targets[:, None]).any(1).float())
        self.loss.update(cross_entropy(outputs, targets), weight=len(targets))

    def compute(self) -> dict[str, float]:
        """`loss`, `accuracy`, `f1_macro` over the classes that occur in targets or outputs, `accuracy_top5` if there
        are more than five classes, and `n`."""
        right, true, predicted = self._counts()
        occurs, number = true + predicted > 0, true.sum()
        f1 = _f1(right, true, predicted)[occurs].mean()
        values = {"loss": self.loss.compute().item()}
        values |= {"accuracy": (right.sum() / number).item(), "f1_macro": f1.item()}
        if self.top is not None:
            values[f"accuracy_top{TOP_K}"] = self.top.compute().item()
        return values | {"n": int(number.item())}

    def per_class(self) -> list[dict[str, Any]]:
        """Precision, recall and F1 of each class, None if there is nothing to divide by; `n` is the number of its
        samples."""
        right, true, predicted = self._counts()
        columns = {
            "precision": quotients(right, predicted),
            "recall": quotients(right, true),
            "f1": quotients(2 * right, true + predicted),
        }
        return [
            {"class": name, "n": int(true[row])} | {key: column[row] for key, column in columns.items()}
            for row, name in enumerate(self.classes)
        ]

    def _counts(self) -> tuple[Tensor, Tensor, Tensor]:
        """(C,) samples of each class that are right, that belong to it, and that are predicted as it."""
        matrix = self.confusion.compute()  # rows: true class; columns: predicted class
        right, true, predicted = (it.cpu().double() for it in (matrix.diag(), matrix.sum(1), matrix.sum(0)))
        return right, true, predicted

    def reset(self) -> None:
        self.confusion.reset()
        if self.top is not None:
            self.top.reset()
        self.loss.reset()


def _f1(right: Tensor, true: Tensor, predicted: Tensor) -> Tensor:
    return 2 * right / (true + predicted).clamp(min=1)
