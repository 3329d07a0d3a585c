"""Verification, a score of retrieval: accept a pair of samples as one identity from a similarity on. Shapes: N samples
of D numbers and length 1, of I identities; T thresholds; R resamples.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.tasks.neighbours import SIMILARITIES, middle, resamples

FALSE_ACCEPTS = 1e-3  # share of false accepts at which true accepts are counted
COUNTS = 2**24  # of pairs, by identity and threshold, at most: 128 MiB
THRESHOLDS = 1000  # of the intervals, at most


class Verified(NamedTuple):
    """Pairs of samples are accepted as one identity from a similarity on. eer: the lowest rate that neither false
    accepts nor false rejects exceed. threshold: the similarity at which that is so. tar: true accepts at the lowest
    threshold at which at most FALSE_ACCEPTS are false."""

    eer: float
    threshold: float
    tar: float


def verified(vectors: Tensor, labels: Tensor) -> Verified:
    """Compare all pairs. Without pairs of one identity, nothing is accepted: eer 1, tar 0."""
    genuine = torch.cat([similar[same] for similar, same, _ in _pairs(vectors, labels)]).sort().values
    if not len(genuine):
        return Verified(1.0, 1.0, 0.0)
    counts = torch.zeros(len(genuine) + 1, dtype=torch.int64, device=vectors.device)
    for similar, same, _ in _pairs(vectors, labels, of_two=True):
        passed = torch.searchsorted(genuine, similar[same], right=True)  # thresholds at or below this similarity
        counts += passed.bincount(minlength=len(counts))
    accepted = counts.flip(0).cumsum(0).flip(0)[1:]  # pairs of two identities that each genuine score would accept
    wrong = accepted.double() / counts.sum().clamp(min=1)
    rejected = torch.searchsorted(genuine, genuine).double() / len(genuine)
    worse = torch.maximum(wrong, rejected)
    best = int(worse.argmin())
    strict = (wrong <= FALSE_ACCEPTS).nonzero()
    tar = 1 - float(rejected[strict[0, 0]]) if len(strict) else 0.0
    return Verified(float(worse[best]), float(genuine[best]), tar)


def _pairs(vectors: Tensor, labels: Tensor, *, of_two: bool = False) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield blocks of similarities, which of them belong to pairs of one identity (or `of_two`), each pair once, and
    the sample of their first row and column."""
    number = len(labels)
    step = max(1, SIMILARITIES // max(number, 1))
    for start in range(0, number, step):
        rows = torch.arange(start, min(start + step, number), device=labels.device)
        later = torch.arange(start, number, device=labels.device) > rows[:, None]
        same = labels[rows, None] == labels[start:]
        yield vectors[rows] @ vectors[start:].T, later & (~same if of_two else same), start


def verified_intervals(vectors: Tensor, labels: Tensor) -> dict[str, tuple[float, float]]:
    """95 % intervals of `eer` and `tar` by the bootstrap over identities, from a fixed seed; empty without pairs of one
    identity, or of two.

    Pairs of one identity count as often as it is drawn. A pair of two that are drawn m and n times counts m + n - 1
    times, the linear part of m n around 1: counts for each identity are then enough, not for each pair of them.
    """
    names, owner = labels.unique(return_inverse=True)
    genuine = torch.cat([similar[same] for similar, same, _ in _pairs(vectors, labels)]).sort().values
    if not len(genuine) or len(names) < 2:
        return {}
    most = min(THRESHOLDS, len(genuine), max(2, COUNTS // len(names)))
    thresholds = genuine[torch.linspace(0, len(genuine) - 1, most).round().long()]
    own = _accepted(vectors, owner, len(names), thresholds)
    others = _accepted(vectors, owner, len(names), thresholds, of_two=True)
    rates, accepts = [], []
    for drawn in resamples(len(names)):
        times = torch.stack([chosen.bincount(minlength=len(names)) for chosen in drawn]).double()
        right, wrong = times @ own, times @ others - others.sum(0) / 2  # (R, T + 1); a pair has two owners
        right, wrong = (it[:, 1:].clamp(min=0) / it[:, :1].clamp(min=1) for it in (right, wrong))
        rates.append(torch.maximum(wrong, 1 - right).min(1).values)
        strict = wrong <= FALSE_ACCEPTS
        accepts.append(right.gather(1, strict.int().argmax(1, keepdim=True))[:, 0] * strict.any(1))
    return {"eer": middle(torch.cat(rates)), "tar": middle(torch.cat(accepts))}


def _accepted(vectors: Tensor, owner: Tensor, identities: int, thresholds: Tensor, *, of_two: bool = False) -> Tensor:
    """(I, 1 + T) numbers of an identity's pairs: all of them, then those at or above each threshold."""
    bins = len(thresholds) + 1
    counts = torch.zeros(identities * bins, dtype=torch.int64)
    for similar, chosen, start in _pairs(vectors, owner, of_two=of_two):
        passed = torch.searchsorted(thresholds, similar[chosen], right=True)
        rows, columns = (side + start for side in chosen.nonzero(as_tuple=True))
        for side in (rows, columns) if of_two else (rows,):
            counts += (owner[side] * bins + passed).bincount(minlength=len(counts))
    return counts.view(identities, bins).flip(1).cumsum(1).flip(1).double()
