"""Scores of an order: how well the outputs rank the samples of each user. Shapes: N samples of U users.

All samples of a split that a user has are ranked against each other, by their outputs. Samples with equal outputs count
as in every order that these can have, on average.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.tasks.base import Metrics, Mode
from frostline.tasks.neighbours import interval

K = 10  # samples from the top that scores look at
NOBODY = -1  # in place of the user of a sample that names none
NDCG, RECALL = f"ndcg_{K}", f"recall_{K}"

Score = Callable[[Tensor, Mapping[str, Any]], Tensor]


class Worth(NamedTuple):
    """What ranking a sample high is worth, by its target. gain: (N,) float64, 0 or more. relevant: (N,) bool."""

    gain: Tensor
    relevant: Tensor


def worth_of(targets: Tensor, ranked: Mapping[str, float]) -> Worth:
    """ranked: `Targets.about["ranked"]`. A number gains what it is above the least one of training, a class 1 if it is
    the relevant one, else 0."""
    if "least" not in ranked:
        relevant = targets == int(ranked["relevant"])
        return Worth(relevant.double(), relevant)
    numbers = targets[:, 0].double()
    return Worth((numbers - ranked["least"]).clamp(min=0), numbers >= ranked["relevant"])


class ByUser(NamedTuple):
    """Scores of the users whom they concern: (U,) each, in ascending order of the users.

    ndcg: normalised discounted cumulative gain of the first K samples, with gains as they are (Järvelin and Kekäläinen
        2002), of users whose samples do not all gain the same: no order of these would be better than another.
    recall: share of a user's relevant samples that is among the first K, of users with more than K samples, relevant
        ones and others: for the rest, every order has the same recall.
    """

    ndcg: Tensor
    recall: Tensor


def by_user(scores: Tensor, worth: Worth, users: Tensor) -> ByUser:
    """scores: (N,), the higher the better. users: (N,) int64."""
    _, user = users.unique(return_inverse=True)
    counts = user.bincount()
    sums = _sums(scores.double(), worth, user, counts)
    ideal = _sums(worth.gain, worth, user, counts).gain
    differ, some = who_counts(worth, users)
    relevant = _total(user, worth.relevant.double(), len(counts))
    return ByUser((sums.gain / ideal)[differ], (sums.relevant / relevant)[some])


def who_counts(worth: Worth, users: Tensor) -> tuple[Tensor, Tensor]:
    """(U,) bool each: the users whom `ndcg` and `recall` of `ByUser` concern."""
    _, user = users.unique(return_inverse=True)
    counts = user.bincount()
    bounds = torch.zeros(len(counts), dtype=worth.gain.dtype)
    least, most = (bounds.scatter_reduce(0, user, worth.gain, how, include_self=False) for how in ("amin", "amax"))
    relevant = _total(user, worth.relevant.double(), len(counts))
    return most > least, (counts > K) & (relevant > 0) & (relevant < counts)


def _sums(scores: Tensor, worth: Worth, user: Tensor, counts: Tensor) -> Worth:
    """(U,) discounted gain, and number of relevant samples, of the first K samples by their scores."""
    order = scores.argsort(descending=True, stable=True)
    order = order[user[order].argsort(stable=True)]  # users side by side, each with the highest score first
    owner, sorted_scores = user[order], scores[order]
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[owner]  # from 0
    begins = torch.ones(len(order), dtype=torch.bool)
    begins[1:] = (owner[1:] != owner[:-1]) | (sorted_scores[1:] != sorted_scores[:-1])
    equal = begins.cumsum(0) - 1  # samples of one user with equal scores
    sizes = equal.bincount()

    def top(values: Tensor, weights: Tensor) -> Tensor:
        means = _total(equal, values.double()[order], len(sizes)) / sizes
        return _total(owner, means[equal] * weights * (place < K), len(counts))

    ones = torch.ones(len(order), dtype=torch.float64)
    return Worth(top(worth.gain, 1 / (place + 2).double().log2()), top(worth.relevant, ones))


def _total(owner: Tensor, values: Tensor, number: int) -> Tensor:
    return torch.zeros(number, dtype=torch.float64).index_add_(0, owner, values)


class Outputs(Metric):
    """Scores, targets and users of all samples over batches and ranks, in the order of their source, so that sums do
    not depend on the number of ranks."""

    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]
    users: list[Tensor]
    samples: list[Tensor]
    STATES = ("scores", "targets", "users", "samples")

    def __init__(self) -> None:
        super().__init__()
        for state in self.STATES:
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, batch: Batch) -> None:
        assert batch.user is not None
        for state, values in zip(self.STATES, (scores, batch.targets, batch.user, batch.sample), strict=True):
            getattr(self, state).append(values.detach().to(scores.device))

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """(N,) scores, targets, (N,) users, on the CPU, of samples that name a user."""
        scores, targets, users, samples = (dim_zero_cat(getattr(self, state)).cpu() for state in self.STATES)
        order = samples.argsort(stable=True)
        order = order[users[order] != NOBODY]
        return scores[order], targets[order], users[order]


class RankedMetrics(Metrics):
    """Scores of `own`, and of the order in which `score` puts the samples of each user. score: outputs (B, K) and
    `ranked` → (B,). ranked: `Targets.about["ranked"]`."""

    def __init__(self, own: Metrics, ranked: Mapping[str, Any], score: Score) -> None:
        super().__init__()
        self.own = own
        self.ranked = ranked
        self.score = score
        self.outputs = Outputs()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.own.update(outputs, batch)
        if batch.user is not None:  # samples that are scored after training may name no user
            self.outputs.update(self.score(outputs.float(), self.ranked), batch)

    def compute(self) -> dict[str, float]:
        """Those of `own`, then `ndcg_10` and `recall_10`, means over the users whom they concern, with 95 % intervals
        over them (see `interval`) and their numbers, `ndcg_users` and `recall_users`; a score that
        concerns no user is left out."""
        scores = self.own.compute()
        number = scores.pop("n")
        if self.outputs.update_called:
            outputs, targets, users = self.outputs.compute()
            found = by_user(outputs, worth_of(targets, self.ranked), users)
            for name, values in ((NDCG, found.ndcg), (RECALL, found.recall)):
                if len(values):
                    scores |= {name: float(values.mean()), **interval(name, values, torch.arange(len(values)))}
                    scores[f"{name.partition('_')[0]}_users"] = len(values)
        return scores | {"n": number}

    def per_class(self) -> list[dict[str, Any]]:
        return self.own.per_class()

    def reset(self) -> None:
        self.own.reset()
        self.outputs.reset()


def with_ranking(own: Metrics, targets: Targets, score: Score) -> Metrics:
    """`own`, with the scores of an order if the samples have users."""
    ranked = targets.about.get("ranked")
    return own if ranked is None else RankedMetrics(own, ranked, score)


def noted_of(targets: Targets) -> frozenset[str]:
    """See `Task.noted`."""
    return frozenset(f"val/{score}" for score in scores_of_ranking(targets))


def scores_of_ranking(targets: Targets) -> dict[str, Mode]:
    """The scores of an order that some user of the validation split has, by `Targets.about`."""
    return dict.fromkeys(targets.about.get("ranked", {}).get("scores", []), "max")
