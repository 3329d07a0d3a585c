"""Losses for retrieval, which bring samples of one identity together. Shapes: B anchors, N others to compare them
with, C prototypes, all of D numbers and length 1; every loss returns (B,), a value for each anchor.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

LEAST = 1e-12  # square, below which its root has no useful gradient


def arcface(vectors: Tensor, labels: Tensor, prototypes: Tensor, *, margin: float, scale: float) -> Tensor:
    """Cross-entropy over the scaled cosines to the prototypes, with `margin` (radians) added to the angle to the right
    one: Deng et al. 2019, arXiv:1801.07698, equation 3.

    Where angle and margin together exceed π the cosine would rise again: as in the authors' code, it falls linearly.
    """
    cosines = vectors @ prototypes.T
    right = cosines.gather(1, labels[:, None])
    sine = (1 - right.square()).clamp(min=LEAST).sqrt()
    moved = right * math.cos(margin) - sine * math.sin(margin)
    moved = torch.where(right > math.cos(math.pi - margin), moved, right - margin * math.sin(margin))
    return cross_entropy(scale * cosines.scatter(1, labels[:, None], moved), labels, reduction="none")


def supervised_contrastive(
    anchors: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, start: int, *, temperature: float
) -> Tensor:
    """Khosla et al. 2020, arXiv:2004.11362, equation 2 (L_out). start: index of the first anchor among the others. 0
    for an anchor without another sample of its identity."""
    positive, itself = _pairs(labels, other_labels, start)
    logits = (anchors @ others.T / temperature).masked_fill(itself, -torch.inf)
    logs = logits - logits.logsumexp(1, keepdim=True)
    return -logs.masked_fill(~positive, 0.0).sum(1) / positive.sum(1).clamp(min=1)


def batch_hard_triplet(
    anchors: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor, start: int, *, margin: float
) -> Tensor:
    """How far the most distant sample of the anchor's identity is not closer by `margin` than the nearest of another
    one: Hermans et al. 2017, arXiv:1703.07737, equation 5, with Euclidean distances. start: see above. 0 for an anchor
    without both."""
    positive, itself = _pairs(labels, other_labels, start)
    negative = ~(positive | itself)
    cosines = (anchors @ others.T).detach()
    furthest = others[cosines.masked_fill(~positive, torch.inf).argmin(1)]
    nearest = others[cosines.masked_fill(~negative, -torch.inf).argmax(1)]
    # Norms of the differences: 1 - cosine loses the digits of short distances.
    away, near = ((anchors - other).square().sum(1).clamp(min=LEAST).sqrt() for other in (furthest, nearest))
    return (away - near + margin).clamp(min=0) * (positive.any(1) & negative.any(1))


def _pairs(labels: Tensor, other_labels: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """(B, N) bool: other samples of the anchor's identity, and the anchor itself."""
    places = torch.arange(len(other_labels), device=labels.device)
    itself = places == torch.arange(start, start + len(labels), device=labels.device)[:, None]
    return (labels[:, None] == other_labels) & ~itself, itself
