"""Any number of labels per sample. Shapes: logits (B, C), targets (B, C): 1 if a label holds, 0 if not, in between if
samples were mixed.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torchmetrics.functional.classification import (
    binary_average_precision,
    multilabel_exact_match,
    multilabel_f1_score,
)

from frostline.config.ranges import Fraction, NonNegative
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.tasks.all_samples import Gathered
from frostline.tasks.base import Metrics, Mode, Task, quotients

SCORES: dict[str, Mode] = {
    "loss": "min",
    "average_precision": "max",
    "f1_micro": "max",
    "f1_macro": "max",
    "exact_match": "max",
}
BETWEEN = "|"  # separates labels in a cell of a table


class MultiLabel(Task):
    """threshold: a label is predicted above this probability."""

    kind = "labels"
    evidence_unit = "the logit of the label"
    hub_task = "{}-classification"

    def __init__(
        self,
        targets: Targets,
        *,
        threshold: Fraction,
        l1: NonNegative[float],
        monitor: str,
        mode: Literal["max", "min"],
    ) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES)
        self.labels = targets.names
        self.threshold = threshold

    @property
    def num_outputs(self) -> int:
        return len(self.labels)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss_of_rows(outputs, batch.targets)}

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over samples and labels."""
        return binary_cross_entropy_with_logits(outputs.float(), targets)

    def metrics(self) -> "MultiLabelMetrics":
        return MultiLabelMetrics(self.labels, self.threshold)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        return [*outputs.float().sigmoid()]

    def evidence(self, outputs: Tensor) -> Tensor:
        """The logit of a label."""
        return outputs

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """`labels`, those above the threshold joined by |, and `probability_<label>` of every label."""
        each = torch.stack([*predictions])
        chosen = [[self.labels[i] for i in row.nonzero().flatten().tolist()] for row in each > self.threshold]
        values = zip(self.labels, each.T.tolist(), strict=True)
        columns = {f"probability_{name}": [f"{value:.6f}" for value in column] for name, column in values}
        return {"labels": [BETWEEN.join(names) for names in chosen]} | columns


class MultiLabelMetrics(Metrics):
    """Average precision is defined only for labels that some sample has; its mean is over these."""

    def __init__(self, labels: list[str], threshold: float) -> None:
        super().__init__()
        self.labels = labels
        self.threshold = threshold
        self.gathered = Gathered()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.gathered.update(outputs, batch.targets)

    def compute(self) -> dict[str, float]:
        """`loss`, `average_precision`, `f1_micro` over all decisions, `f1_macro`, the mean over labels
        that occur in targets or predictions, `exact_match`, the share of samples with every label right, and `n`."""
        logits, targets = self.gathered.samples()
        probabilities, wanted, count = logits.sigmoid(), targets.long(), len(self.labels)
        settings: dict[str, Any] = {"num_labels": count, "threshold": self.threshold, "validate_args": False}
        precisions = [score for score in self._average_precisions(probabilities, wanted) if score is not None]
        f1 = [score for score in self._f1(probabilities, wanted) if score is not None]
        return {
            "loss": binary_cross_entropy_with_logits(logits, targets).item(),
            "average_precision": sum(precisions) / len(precisions) if precisions else 0.0,
            "f1_micro": min(multilabel_f1_score(probabilities, wanted, average="micro", **settings).item(), 1.0),
            "f1_macro": sum(f1) / len(f1) if f1 else 0.0,
            "exact_match": multilabel_exact_match(probabilities, wanted, **settings).item(),
            "n": len(wanted),
        }

    def per_class(self) -> list[dict[str, Any]]:
        """`n` is the number of samples with the label; `average_precision` is None if there are none, and
        `f1` if none is predicted either."""
        logits, targets = self.gathered.samples()
        probabilities, wanted = logits.sigmoid(), targets.long()
        precisions = self._average_precisions(probabilities, wanted)
        f1 = self._f1(probabilities, wanted)
        return [
            {
                "label": name,
                "n": int(wanted[:, place].sum()),
                "average_precision": precisions[place],
                "f1": f1[place],
            }
            for place, name in enumerate(self.labels)
        ]

    def _f1(self, probabilities: Tensor, wanted: Tensor) -> list[float | None]:
        """None for a label that neither occurs nor is predicted."""
        chosen = (probabilities > self.threshold).long()
        return quotients(2 * (chosen & wanted).sum(0), chosen.sum(0) + wanted.sum(0))

    def _average_precisions(self, probabilities: Tensor, wanted: Tensor) -> list[float | None]:
        return [
            binary_average_precision(values, truth, validate_args=False).item() if bool(truth.any()) else None
            for values, truth in zip(probabilities.T, wanted.T, strict=True)
        ]

    def reset(self) -> None:
        self.gathered.reset()
