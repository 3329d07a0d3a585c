"""Augment sounds that a network hears as values. Shapes: Tokens of B sounds, values (B, T, 1). Each sound has its own
random numbers."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.contracts.specs import WaveSpec
from frostline.contracts.tokens import Tokens
from frostline.data.pictures.counter_random import uniform
from frostline.data.target_types.base import TargetType
from frostline.data.views import AugmentedViews


class Strength(NamedTuple):
    """bars: of silence. widest: share of the sound that a bar covers at most. mix: see `Mixing`."""

    bars: int
    widest: float
    mix: float = 0.0


STRENGTHS = {"standard": Strength(1, 0.15), "strong": Strength(2, 0.2)}


class WaveViews(AugmentedViews):
    """level: `standard` shows a random part of a sound that is longer than the spec's limit, and replaces a bar by
    silence; `strong` replaces two.

    Random numbers are a function of (seed, epoch, sample)."""

    def __init__(
        self, level: Literal["none", "standard", "strong"], *, spec: WaveSpec, seed: int, target: TargetType
    ) -> None:
        self.strength: Strength | None = STRENGTHS.get(level)
        self.spec = spec
        self.seed = seed
        self.target = target

    def describe(self) -> Sequence[Any]:
        return ["waves", list(self.strength) if self.strength is not None else None, self.seed]

    def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
        if self.strength is None:
            return batch
        u = uniform(self.seed, epoch, batch.sample, 1 + 2 * self.strength.bars)
        assert isinstance(batch.inputs, Tokens)
        values, mask = part(batch.inputs, self.spec.limit, u[:, 0])
        for bar in range(self.strength.bars):
            covered = _bar(mask, u[:, 1 + 2 * bar : 3 + 2 * bar], self.strength.widest)
            values = values.masked_fill(covered[..., None], 0.0)
        return batch._replace(inputs=Tokens(values, mask))


def part(x: Tokens, most: int | None, u: Tensor) -> Tokens:
    """Cut up to `most` values out of each sound at a random position. u: (B,) in [0, 1)."""
    lengths = x.mask.sum(1)
    if most is None or int(lengths.max()) <= most:
        return x
    start = (u.double() * ((lengths - most).clamp(min=0) + 1)).long()
    column = torch.arange(most, device=u.device)
    place = (start[:, None] + column).clamp(max=x.mask.shape[1] - 1)
    mask = column < lengths[:, None]
    return Tokens(x.values.gather(1, place[..., None]).masked_fill(~mask[..., None], 0.0), mask)


def _bar(mask: Tensor, u: Tensor, widest: float) -> Tensor:
    """(B, T) bool: a bar of a random width, up to `widest` of the sound, at a random position in it. u: (B, 2)."""
    lengths = mask.sum(1)
    width = (u[:, 0].double() * widest * lengths).long()
    start = (u[:, 1].double() * (lengths - width + 1)).long()
    column = torch.arange(mask.shape[1], device=mask.device)
    return (column >= start[:, None]) & (column < (start + width)[:, None])
