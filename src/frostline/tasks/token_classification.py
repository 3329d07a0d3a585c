"""One tag for each word. Shapes: B samples of at most L tokens, C tags; logits (B, L, C), targets (B, L + K): the tags
of L tokens, NO_TAG where no word begins (padding, special tokens, all but the first token of a word), then those of up
to K words that were cut off. These are not trained on, and their entities count as missed. W words of all samples.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from frostline.config.ranges import NonNegative, Probability
from frostline.contracts.batch import Batch
from frostline.contracts.targets import NO_TAG, Targets
from frostline.contracts.tokens import Tokens, values_of
from frostline.tasks.base import Metrics, Mode, Task, quotients
from frostline.tasks.classification import balanced_weights, best_columns, weighed_loss
from frostline.tasks.entities import Scheme

SCORES: dict[str, Mode] = {
    "loss": "min",
    "accuracy": "max",
    "precision": "max",
    "recall": "max",
    "f1": "max",
    "f1_macro": "max",
}


class TokenClassification(Task):
    """class_weights: `balanced` weights words by `balanced_weights` of their tags."""

    kind = "tags"
    hub_task = "token-classification"
    unit = "token"

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
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES)
        self.tags = targets.names
        self.label_smoothing = label_smoothing
        self.mean_words: float = targets.about["mean_words"]
        self.class_weights: Tensor | None
        balanced = balanced_weights(targets.counts) if class_weights == "balanced" else None
        self.register_buffer("class_weights", balanced, persistent=False)

    @property
    def num_outputs(self) -> int:
        return len(self.tags)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The sum over words divided by B × mean words of a training sample, not by the batch's own words, so that the
        mean over shares of a batch is the mean over the whole batch, on any number of ranks."""
        seen = batch.targets[:, : outputs.shape[1]].flatten()
        each = weighed_loss(outputs.float().flatten(0, 1), seen, self.class_weights, self.label_smoothing)
        return {"loss": each.sum() / (len(batch.targets) * self.mean_words)}

    @property
    def rows_per_sample(self) -> float:
        return self.mean_words

    def fit_rows(self, features: Tensor | Tokens, targets: Tensor) -> tuple[Tensor, Tensor]:
        """A row for each word that was not cut off."""
        values = values_of(features)
        seen = targets[:, : values.shape[1]]
        return values[seen != NO_TAG], seen[seen != NO_TAG]

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return weighed_loss(outputs.float(), targets, self.class_weights, self.label_smoothing).mean()

    def metrics(self) -> "TokenClassificationMetrics":
        return TokenClassificationMetrics(self.tags)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        """(L, C) probabilities per sample, of every token."""
        return [*outputs.float().softmax(dim=-1)]

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """A row for each word that has a target: `target` (W,), `logits` (W, C), NaN for a word that was cut off."""
        sample, column = (batch.targets != NO_TAG).nonzero(as_tuple=True)
        seen = column < outputs.shape[1]
        logits = torch.full((len(sample), outputs.shape[2]), torch.nan, device=outputs.device)
        logits[seen] = outputs[sample[seen], column[seen]].float()
        return {"sample": sample, "target": batch.targets[sample, column], "logits": logits}

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """A row for each of W words: `tag`, `probability`, then those of the next tags: `tag_2`, `probability_2`, ...
        Cells are empty for a word without a prediction (NaN)."""
        each = torch.stack([*predictions])
        seen = ~each.isnan().any(1)
        columns = best_columns(each[seen], self.tags, top_k, "tag")
        places = seen.cumsum(0).sub(1).tolist()
        rows = list(zip(seen.tolist(), places, strict=True))
        return {name: [cells[place] if is_seen else "" for is_seen, place in rows] for name, cells in columns.items()}


class Sums(Metric):
    """Sums over all batches and ranks. loss: plain cross-entropy of words. right: words with the right tag. entities:
    (3, T) counts of `Scheme.count`."""

    full_state_update = False
    loss: Tensor
    right: Tensor
    words: Tensor
    samples: Tensor
    entities: Tensor

    def __init__(self, types: int) -> None:
        super().__init__()
        self.add_state("loss", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("right", "words", "samples"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("entities", torch.zeros(3, types, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, **added: Tensor | int) -> None:
        for name, value in added.items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """On the CPU, in float64, which not every device has."""
        return {name: getattr(self, name).cpu().to(torch.float64) for name in self.metric_state}


class TokenClassificationMetrics(Metrics):
    """The loss is plain cross-entropy, the mean over words. Only sums are stored: memory does not grow with words."""

    def __init__(self, tags: list[str]) -> None:
        super().__init__()
        self.scheme = Scheme(tags)
        self.sums = Sums(len(self.scheme.types))

    def update(self, outputs: Tensor, batch: Batch) -> None:
        targets = batch.targets
        sample, column = (targets != NO_TAG).nonzero(as_tuple=True)
        first = sample.diff(prepend=sample.new_full((1,), -1)) != 0
        wanted, seen = targets[sample, column], column < outputs.shape[1]
        chosen = outputs[sample[seen], column[seen]].float()
        given = wanted.new_full(wanted.shape, self.scheme.untold)
        given[seen] = chosen.argmax(1)
        self.sums.update(
            loss=cross_entropy(chosen, wanted[seen], reduction="sum"),
            right=(given == wanted)[seen].sum(),
            words=len(chosen),
            samples=len(targets),
            entities=self.scheme.count(wanted, given, first),
        )

    def compute(self) -> dict[str, float]:
        """`loss` and `accuracy` of words that were not cut off; `precision`, `recall` and `f1` of entities, all types
        together; `f1_macro`, the mean over the types that occur in truth or predictions; `n` samples."""
        sums = self.sums.compute()
        words = sums["words"].clamp(min=1)
        together = {name: value.item() for name, value in entity_scores(sums["entities"].sum(1)).items()}
        occurs = sums["entities"].any(0)
        f1 = entity_scores(sums["entities"])["f1"][occurs]
        return {
            "loss": (sums["loss"] / words).item(),
            "accuracy": (sums["right"] / words).item(),
            **together,
            "f1_macro": f1.mean().item() if len(f1) else 0.0,
            "n": int(sums["samples"].item()),
        }

    def per_class(self) -> list[dict[str, Any]]:
        """A row for each type of entity; `n` is the number of true ones. A score is None if there is nothing to divide
        by."""
        met, wanted, given = self.sums.compute()["entities"]
        columns = zip(quotients(met, given), quotients(met, wanted), quotients(2 * met, wanted + given), strict=True)
        return [
            {"entity": name, "n": int(number), "precision": precision, "recall": recall, "f1": f1}
            for name, number, (precision, recall, f1) in zip(self.scheme.types, wanted, columns, strict=True)
        ]

    def reset(self) -> None:
        self.sums.reset()


def entity_scores(counts: Tensor) -> dict[str, Tensor]:
    """counts: (3, ...) of `Scheme.count`. A score is 0 if there is nothing to count, as in seqeval."""
    met, wanted, given = counts
    return {
        "precision": met / given.clamp(min=1),
        "recall": met / wanted.clamp(min=1),
        "f1": 2 * met / (wanted + given).clamp(min=1),
    }
