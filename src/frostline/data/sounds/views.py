"""Show spectrograms to the network, and augment them in training. Shapes: sounds (B, 3, M, F) uint8, which may be
padded at the end; views (B, 3, *spec.sides) float. Each sound has its own random numbers.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from frostline.contracts.batch import Batch
from frostline.data.pictures.counter_random import uniform
from frostline.data.pictures.preprocess import normalised, scaled
from frostline.data.sounds.spectrogram import SoundSpec
from frostline.data.target_types.base import TargetType
from frostline.data.views import AugmentedViews

DRAWS = 12  # random numbers per sound and epoch
Level = Literal["none", "standard", "strong"]


class Strength(NamedTuple):
    """bars: number of bars over time, and of bars over frequency (SpecAugment, Park et al. 2019, arXiv:1904.08779).
    widest: share of the side that a bar covers at most. mix: share of sounds that are mixed with another."""

    bars: int
    widest: float
    mix: float


STRENGTHS = {"standard": Strength(1, 0.15, 0.0), "strong": Strength(2, 0.2, 0.5)}


class Spectrum(nn.Module):
    """(B, 3, M, F) uint8 of the spec's length → (B, 3, *spec.sides)."""

    def __init__(self, spec: SoundSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, sounds: Tensor) -> Tensor:
        x = scaled(sounds)
        if tuple(x.shape[-2:]) != self.spec.sides:
            x = interpolate(x, self.spec.sides, mode="bilinear", antialias=True)
        return normalised(x.contiguous(memory_format=torch.channels_last), self.spec)


class SoundViews(AugmentedViews):
    """level: `standard` shifts sounds in time and covers bars of time and frequency; `strong` covers more, and mixes
    sounds (mixup, Zhang et al. 2018, arXiv:1710.09412).

    Random numbers are a function of (seed, epoch, sample)."""

    def __init__(self, level: Level, *, spec: SoundSpec, seed: int, target: TargetType, num_classes: int) -> None:
        self.strength: Strength | None = STRENGTHS.get(level)
        self.spec = spec
        self.seed = seed
        self.target = target
        self.num_classes = num_classes
        self.spectrum = Spectrum(spec)

    def describe(self) -> Sequence[Any]:
        return ["sound", list(self.strength) if self.strength is not None else None, self.seed]

    def plain(self, batch: Batch) -> Batch:
        return batch._replace(inputs=self.spectrum(batch.pictures))

    def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
        if self.strength is None:
            return self.plain(batch)
        u = uniform(self.seed, epoch, batch.sample, DRAWS)
        x = self.spectrum(_shifted(batch.pictures, batch.sizes, self.spec.frames, u[:, 0]))
        for bar in range(self.strength.bars):
            at = 1 + 4 * bar
            x = x * _uncovered(u[:, at : at + 2], self.strength.widest, x.shape[-1])[:, None, None, :]
            x = x * _uncovered(u[:, at + 2 : at + 4], self.strength.widest, x.shape[-2])[:, None, :, None]
        batch = batch._replace(inputs=x.contiguous(memory_format=torch.channels_last))
        return self._mixed(batch, u[:, 9:11], self.strength.mix) if self.mixes else batch

    def _mixed(self, batch: Batch, u: Tensor, share: float) -> Batch:
        """Mix a `share` of the sounds with the previous one of the batch, with lambda ~ Beta(1, 1)."""
        kept = torch.where(u[:, 0] < share, u[:, 1], 1.0).unsqueeze(1)
        weight = kept[:, :, None, None]
        mixed = weight * batch.pictures + (1 - weight) * batch.pictures.roll(1, 0)
        targets = self.target.mixed(batch.targets, kept, self.num_classes)
        return batch._replace(inputs=mixed, targets=targets)


def _shifted(x: Tensor, sizes: Tensor | None, frames: int, u: Tensor) -> Tensor:
    """Cut `frames` columns out of each sound at a random position; a shorter sound is moved within silence. sizes:
    (B, 2) rows and columns of each sound; None if none is padded."""
    length = torch.full_like(u, x.shape[-1]).long() if sizes is None else sizes[:, 1].to(x.device)
    spare = length - frames
    start = (u * (spare.abs() + 1)).long() * spare.sign()
    column = start[:, None] + torch.arange(frames, device=x.device)
    inside = (column >= 0) & (column < length[:, None])
    place = column.clamp(0, x.shape[-1] - 1)[:, None, None, :].expand(-1, *x.shape[1:3], -1)
    return x.gather(3, place) * inside[:, None, None, :]


def _uncovered(u: Tensor, widest: float, side: int) -> Tensor:
    """(B, 2) → (B, side): 0 under a bar of a random width and position, else 1. A covered value is the mean colour."""
    width = u[:, :1] * widest
    start = u[:, 1:] * (1 - width)
    at = (torch.arange(side, device=u.device) + 0.5) / side
    return 1 - ((at >= start) & (at < start + width)).float()
