"""Embeddings: samples of one identity lie close to each other, also for identities that training has not seen. Shapes:
outputs (B, D) of length 1, followed in training by C prototypes (heads/embedding.py); targets (B,) indices of
identities, those of training first.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from frostline.config.ranges import NonNegative, Positive
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.distributed.gather import together
from frostline.errors import ConfigError
from frostline.tasks.base import Metrics, Mode, Task
from frostline.tasks.metric_losses import arcface, batch_hard_triplet, supervised_contrastive
from frostline.tasks.neighbours import interval, ranked
from frostline.tasks.verification import verified, verified_intervals

NEAREST = (1, 5, 10)  # k of recall@k
MOST_VERIFIED = 5000  # samples: the intervals of their pairs take 2 s after each epoch
SCORES: dict[str, Mode] = {**{f"recall_{k}": "max" for k in NEAREST}, "map_r": "max", "eer": "min", "tar": "max"}
PER_IDENTITY = 4  # samples of an identity in a batch, for losses that compare the samples of a batch


class Retrieval(Task):
    """loss: `arcface` learns a prototype for each training identity; `supcon` and `triplet` compare the samples of a
    batch, over all ranks: the gradients are those of one process with the whole batch.

    margin: of arcface, in radians. scale: of arcface's cosines. temperature: of supcon. triplet_margin: a distance
    between vectors of length 1, at most 2.
    """

    kind = "identities"
    hub_task = "{}-feature-extraction"
    hub_samples = frozenset({"image"})
    unit = "embedding"
    usual_head = "embedding"
    noted = frozenset({"val/threshold"})

    def __init__(
        self,
        targets: Targets,
        *,
        loss: Literal["arcface", "supcon", "triplet"],
        margin: NonNegative[float],
        scale: Positive[float],
        temperature: Positive[float],
        triplet_margin: Positive[float],
        l1: NonNegative[float],
        monitor: str,
        mode: Literal["max", "min"],
    ) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES)
        if margin >= math.pi / 2:
            raise ConfigError(
                f"an angle of {margin:g} radians between an identity and the others leaves no room for both",
                where="task.margin",
                next_step="task.margin=0.5",
            )
        self.identities = len(targets.names)
        self.kind_of_loss = loss
        self.margin = margin
        self.scale = scale
        self.temperature = temperature
        self.triplet_margin = triplet_margin
        self.per_identity = None if loss == "arcface" else PER_IDENTITY

    @property
    def num_outputs(self) -> int:
        """The number of prototypes that the loss needs."""
        return self.identities if self.kind_of_loss == "arcface" else 0

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The mean over this rank's samples. A sample that has nothing to be compared with counts as 0."""
        vectors, prototypes = outputs[: batch.size].float(), outputs[batch.size :].float()
        with torch.autocast(outputs.device.type, enabled=False):  # bfloat16 has three digits; `scale` multiplies errors
            return {"loss": self._of_each(vectors, prototypes, batch.targets).mean()}

    def _of_each(self, vectors: Tensor, prototypes: Tensor, labels: Tensor) -> Tensor:
        if self.kind_of_loss == "arcface":
            if not len(prototypes):
                raise ConfigError(
                    "task.loss=arcface learns a prototype for each identity, and this head has none",
                    where="head, task.loss",
                    next_step="head=embedding; or task.loss=supcon",
                )
            return arcface(vectors, labels, prototypes, margin=self.margin, scale=self.scale)
        others, start = together(vectors)
        pairs = (vectors, labels, others, together(labels).rows, start)
        if self.kind_of_loss == "supcon":
            return supervised_contrastive(*pairs, temperature=self.temperature)
        return batch_hard_triplet(*pairs, margin=self.triplet_margin)

    def metrics(self) -> "RetrievalMetrics":
        return RetrievalMetrics(self.identities)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        """(D,) for each sample."""
        return [*outputs.float()]

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """`e1` to `eD`, the numbers of the embedding; eight significant digits, about the precision of float32."""
        columns = torch.stack([*predictions]).T.tolist()
        return {f"e{place}": [f"{value:.8g}" for value in column] for place, column in enumerate(columns, 1)}

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`target` and `embedding`, (B, D)."""
        return {"target": batch.targets, "embedding": outputs.float()}


class Embedded(Metric):
    """All samples of a split over batches and ranks, in the order of their source, whichever rank embedded them."""

    full_state_update = False
    vectors: list[Tensor]
    labels: list[Tensor]
    samples: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("vectors", "labels", "samples"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, vectors: Tensor, labels: Tensor, samples: Tensor) -> None:
        self.vectors.append(vectors.detach().float())
        self.labels.append(labels.detach())
        self.samples.append(samples.detach())

    def compute(self) -> tuple[Tensor, Tensor]:
        """(N, D) vectors and (N,) labels, on the CPU."""
        vectors, labels, samples = (dim_zero_cat(it).cpu() for it in (self.vectors, self.labels, self.samples))
        order = samples.argsort(stable=True)
        return vectors[order], labels[order]


class RetrievalMetrics(Metrics):
    """known: the number of training identities; targets from there on are of identities that training has not seen."""

    def __init__(self, known: int) -> None:
        super().__init__()
        self.known = known
        self.embedded = Embedded()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.embedded.update(outputs, batch.targets, batch.sample)

    def compute(self) -> dict[str, float]:
        """`recall_1`, `recall_5`, `recall_10`: share of the queries with a sample of their identity among the nearest.
        `map_r`, see `Ranked`. `eer`, `threshold`, `tar`: see `Verified`. 95 % intervals by identity (see
        `interval`) of `map_r`, of recall, and up to MOST_VERIFIED samples of `eer` and `tar`. `n` samples, each a
        query if its identity has another one."""
        vectors, labels = self.embedded.compute()
        found = ranked(vectors, labels, max(NEAREST))
        values = {f"recall_{k}": (found.first <= k).double() for k in NEAREST} | {"map_r": found.average_precision}
        scores = {name: float(value.mean()) if len(value) else 0.0 for name, value in values.items()}
        scores |= verified(vectors, labels)._asdict()
        intervals = verified_intervals(vectors, labels) if len(labels) <= MOST_VERIFIED else {}
        identities = len(labels.unique())
        for name, (low, high) in intervals.items():
            scores |= {f"{name}_low": low, f"{name}_high": high, f"{name}_units": identities}
        for name, each in values.items() if len(found.queries) else ():
            scores |= interval(name, each, labels[found.queries])
        return scores | {"n": len(labels)}

    def per_class(self) -> list[dict[str, Any]]:
        """A row for the identities that training has seen, and one for the others; `n` is the number of queries. All
        samples of the split are searched."""
        vectors, labels = self.embedded.compute()
        found = ranked(vectors, labels)
        seen = labels[found.queries] < self.known
        rows = []
        for name, chosen in (("in training", seen), ("not in training", ~seen)):
            if bool(chosen.any()):
                recall, precision = (found.first[chosen] <= 1).double().mean(), found.average_precision[chosen].mean()
                scores = {"recall_1": float(recall), "map_r": float(precision)}
                rows.append({"identities": name, "n": int(chosen.sum())} | scores)
        return rows or [{"identities": "without a pair", "n": 0, "recall_1": None, "map_r": None}]

    def reset(self) -> None:
        self.embedded.reset()
