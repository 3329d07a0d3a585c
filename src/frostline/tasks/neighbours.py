"""Scores of retrieval: how near the samples of one identity are to each other. Shapes: N samples of D numbers and
length 1, Q of them with another sample of their identity.

Exact: every sample is compared with every other, some SIMILARITIES at a time. Of equal similarities, those of other
identities count as the higher, so that neither the order of the samples nor a collapsed embedding raises a score.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

SIMILARITIES = 2**22  # held at a time: 16 MiB
RESAMPLES, LEVEL = 1000, 0.95  # of the bootstrap
NORMAL = 1.959964  # the quantile 0.975 of the normal distribution
MOST_DRAWN = 5000  # groups; a bootstrap of more takes a while after each epoch
DRAWN = 2**22  # identities drawn at a time


class Ranked(NamedTuple):
    """queries: (Q,) indices of the samples that have another one of their identity. first: (Q,) rank of the nearest of
    these, from 1; more than `most` if it is beyond. average_precision: (Q,) at R, the number of these: MAP@R is their
    mean (Musgrave et al. 2020, arXiv:2003.08505, section 3.2)."""

    queries: Tensor
    first: Tensor
    average_precision: Tensor


def ranked(vectors: Tensor, labels: Tensor, most: int = 10) -> Ranked:
    """Query each sample for its nearest among all others."""
    _, owner, counts = labels.unique(return_inverse=True, return_counts=True)
    others = counts[owner] - 1  # (N,) further samples of the same identity
    order = others.argsort(stable=True)  # blocks of about one number
    queries = order[others[order] > 0]
    if not len(queries):
        return Ranked(queries, queries, vectors.new_zeros(0))
    first, precision = [], []
    for rows in queries.split(max(1, SIMILARITIES // max(len(labels), 1))):
        similar, same = vectors[rows] @ vectors.T, labels[rows, None] == labels
        wanted = others[rows, None]
        depth = int(wanted.max())
        negatives = similar.masked_fill(same, -torch.inf)
        same.scatter_(1, rows[:, None], False)  # a sample is not its own neighbour
        positives = similar.masked_fill(~same, -torch.inf).topk(depth, dim=1).values
        nearest = negatives.topk(min(max(depth, most), len(labels)), dim=1).values.flip(1).contiguous()
        above = nearest.shape[1] - torch.searchsorted(nearest, positives)
        place = torch.arange(1, depth + 1, device=labels.device)
        rank = place + above
        met = (place <= wanted) & (rank <= wanted)
        first.append(rank[:, 0])
        precision.append((met * (place.double() / rank)).sum(1) / wanted[:, 0])
    back = queries.argsort()
    return Ranked(queries[back], torch.cat(first)[back], torch.cat(precision)[back])


def interval(name: str, values: Tensor, groups: Tensor) -> dict[str, float]:
    """A 95 % interval of the mean of (Q,) values by the bootstrap over their groups (Q,), from a fixed seed: identities
    are drawn, and not samples, as samples of one identity succeed or fail together. Of more than MOST_DRAWN groups, by
    the normal distribution, which it then nearly is. Scores `<name>_low`, `<name>_high`, and `<name>_units`, the number
    of groups."""
    _, owner = groups.cpu().unique(return_inverse=True)
    number = int(owner.max()) + 1
    sums = torch.zeros(number, dtype=torch.float64).index_add_(0, owner, values.cpu().double())
    sizes = owner.bincount().double()
    if number > MOST_DRAWN:
        mean = float(sums.sum() / sizes.sum())
        reach = NORMAL * float((sums - mean * sizes).square().sum().sqrt() / sizes.sum())
        low, high = mean - reach, mean + reach
    else:
        low, high = middle(torch.cat([sums[chosen].sum(1) / sizes[chosen].sum(1) for chosen in resamples(number)]))
    return {f"{name}_low": low, f"{name}_high": high, f"{name}_units": number}


def resamples(groups: int) -> Iterator[Tensor]:
    """Yield (R, groups) indices of groups drawn with replacement, RESAMPLES rows in all, from a fixed seed."""
    draw = torch.Generator().manual_seed(0)
    step = max(1, DRAWN // groups)
    for start in range(0, RESAMPLES, step):
        yield torch.randint(groups, (min(step, RESAMPLES - start), groups), generator=draw)


def middle(values: Tensor) -> tuple[float, float]:
    """The bounds of the middle LEVEL of (R,) values."""
    tail = (1 - LEVEL) / 2
    low, high = values.double().quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high
