"""Blocks of networks that find objects. Between two blocks goes one tensor, so that it can be cached like any other,
also where the library hands on several.

Maps: (B, D, H, W) from fine to coarse, folded into one of the coarsest's height and width. Tokens: (B, L, D) of all
windows of a picture, one window after the other, each with its own class token first.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class Fold(NamedTuple):
    """widths: D of each map. strides: pixels of the picture per cell of each map; each divides the last one."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def factors(self) -> list[int]:
        """Cells of each map along a side of one cell of the coarsest."""
        return [self.strides[-1] // stride for stride in self.strides]

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """The maps as one, (B, sum of D × factor², h, w). One map stays as it is."""
        if len(maps) == 1:
            return maps[0]
        folded = [pixel_unshuffle(x, factor) for x, factor in zip(maps, self.factors, strict=True)]
        return torch.cat(folded, 1).contiguous()  # in one memory format, whether the cache stored it or not

    def open(self, x: Tensor) -> list[Tensor]:
        """The maps again, to the bit."""
        if len(self.widths) == 1:
            return [x]
        sizes = [width * factor**2 for width, factor in zip(self.widths, self.factors, strict=True)]
        parts = x.split(sizes, 1)
        return [pixel_shuffle(part, factor) for part, factor in zip(parts, self.factors, strict=True)]


class Stage(nn.Module):
    """A stage of a convolutional network on the last of the maps `given`. It hands on the first `keeps` of them, which
    the encoder needs, and its own."""

    def __init__(self, stage: nn.Module, given: Fold, made: Fold, keeps: int) -> None:
        super().__init__()
        self.stage = stage
        self.given = given
        self.made = made
        self.keeps = keeps

    def forward(self, x: Tensor) -> Tensor:
        maps = self.given.open(x)
        return self.made([*maps[: self.keeps], self.stage(maps[-1])])


class MapEncoder(nn.Module):
    """The encoder across maps, with the projections before it."""

    def __init__(self, projections: nn.ModuleList, encoder: nn.Module, given: Fold, made: Fold) -> None:
        super().__init__()
        self.projections = projections
        self.encoder = encoder
        self.given = given
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        maps = [project(one) for project, one in zip(self.projections, self.given.open(x), strict=True)]
        return self.made(self.encoder(maps).last_hidden_state)


class Patches(nn.Module):
    """(B, 3, S, S) → (B, L, D). windows: of a picture."""

    def __init__(self, embeddings: nn.Module, windows: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.windows = windows

    def forward(self, pictures: Tensor) -> Tensor:
        tokens: Tensor = self.embeddings(pictures)  # (B × windows, L of one, D)
        return tokens.reshape(len(pictures), -1, tokens.shape[-1])


class WindowLayer(nn.Module):
    """(B, L, k D) → (B, L, D or (k + 1) D): a layer of a transformer on the last D, which hands on the first
    `keeps` × D for the projector. The library's layer takes each window as a sample of its own."""

    def __init__(self, layer: nn.Module, windows: int, width: int, keeps: int) -> None:
        super().__init__()
        self.layer = layer
        self.windows = windows
        self.width = width
        self.keeps = keeps

    def forward(self, x: Tensor) -> Tensor:
        last = x[..., -self.width :].reshape(len(x) * self.windows, -1, self.width)
        made: Tensor = self.layer(last).view(len(x), -1, self.width)
        return torch.cat([x[..., : self.keeps * self.width], made], -1) if self.keeps else made


class Projector(nn.Module):
    """(B, L, k D) → a map (B, E, S / patch, S / patch). norm: on each D; None without. windows: of a picture."""

    def __init__(self, norm: nn.Module | None, projector: nn.Module, windows: int, width: int) -> None:
        super().__init__()
        self.norm = norm
        self.projector = projector
        self.windows = windows
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        parts = [part if self.norm is None else self.norm(part) for part in x.split(self.width, -1)]
        made: Tensor = self.projector(tuple(self._map(part) for part in parts))
        return made

    def _map(self, x: Tensor) -> Tensor:
        """(B, L, D) → (B, D, side, side), without class tokens."""
        x = x.view(len(x), self.windows, -1, self.width)[:, :, 1:]
        across, inside = math.isqrt(self.windows), math.isqrt(x.shape[2])
        x = x.reshape(len(x), across, across, inside, inside, self.width).transpose(2, 3)
        return x.reshape(len(x), across * inside, across * inside, self.width).permute(0, 3, 1, 2).contiguous()


class Passed(nn.Module):
    """In place of the library's backbone, behind which its decoder gets the map that the blocks made."""

    def forward(self, pixel_values: Tensor, pixel_mask: Any) -> tuple[Tensor, Tensor]:
        return pixel_values, pixel_mask.bool()
