"""Predict targets from products of columns. Shapes: as in column_probes.py; L and R rows of a kernel."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.training.column_probes import CLOSE, DIRECTIONS, STRENGTHS, Block, principal, scaled_columns, solved

WEIGHTS = (0.0, 1.0)  # of products of pairs beside single blocks
CHUNK = 1024  # validation rows whose kernel is held at a time


class Fit(NamedTuple):
    """predicted: (M, T). weight, strength: that gave it."""

    predicted: Tensor
    weight: float
    strength: float


class Pairs:
    """Ridge regression on all blocks, scaled as by `Linear`, and on the products of all pairs of them: what a user
    thinks of a topic is a product of user and text. By kernels: that of two blocks is the product of theirs.

    The cost is that of (N, N) matrices: N³/3 operations for each strength and weight.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.sides = [_side(block) for block in blocks]

    def fit(self, targets: Tensor, wanted: Tensor, without: int | None = None, near: Fit | None = None) -> Fit:
        """wanted: (M, T), which chooses penalty and weight. without: the index of a block to leave out. near: a fit
        near whose penalty, and with whose weight, to search."""
        targets = targets.double()
        sides = [side for at, side in enumerate(self.sides) if at != without]
        centre = targets.mean(0)
        if not sides:
            return Fit(centre.expand(len(wanted), -1), 0.0, STRENGTHS[0])
        place = STRENGTHS.index(near.strength) if near is not None else 0
        strengths = STRENGTHS if near is None else STRENGTHS[max(place - 1, 0) : place + 2]
        weights = WEIGHTS if near is None else (near.weight,)
        single, double = _kernels([(train, train) for train, _ in sides])
        found = []
        for weight in weights:
            gram = single + weight * double
            coefficients = torch.cat([solved(gram, targets - centre, strength) for strength in strengths], 1)
            parts = [
                _products([(val[some], train) for train, val in sides], weight, coefficients)
                for some in torch.arange(len(wanted)).split(CHUNK)
            ]
            columns = (torch.cat(parts) + centre.repeat(len(strengths))).split(targets.shape[1], dim=1)
            found += [Fit(own, weight, strength) for own, strength in zip(columns, strengths, strict=True)]
        return min(found, key=lambda it: float((it.predicted - wanted).square().mean()))


def _side(block: Block) -> tuple[Tensor, Tensor]:
    """What the kernel is computed of: codes; scaled columns; of many features the principal directions, each with its
    own variance."""
    if block.coded:
        return block.train, block.val
    if block.width <= DIRECTIONS:
        return scaled_columns(block)
    train, val = principal(block.train.double(), block.val.double())
    scale = train.square().sum(1).mean().sqrt().clamp(min=CLOSE)
    return train / scale, val / scale


def _products(sides: Sequence[tuple[Tensor, Tensor]], weight: float, coefficients: Tensor) -> Tensor:
    single, double = _kernels(sides)
    return (single + weight * double) @ coefficients


def _kernels(sides: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The sum of the blocks' kernels (L, R), and that of the products of all pairs: half of the square of the sum less
    the sum of squares. sides: L and R rows of each block."""
    left, right = sides[0]
    total, squares = torch.zeros(2, len(left), len(right), dtype=torch.float64)
    for left, right in sides:
        own = left @ right.T if left.ndim == 2 else ((left[:, None] == right) & (right >= 0)).double()
        total += own
        squares += own.square()
    return total, (total.square() - squares) / 2
