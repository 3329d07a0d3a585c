"""Heads that place samples on the unit sphere, in float32. Shapes: vectors (B, W) of the backbone → embeddings (B, D)
of length 1, C = num_outputs prototypes.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from frostline.config.ranges import Positive
from frostline.contracts.features import Features, Form, Unit

EMBEDDING: Mapping[Unit, Form] = {"embedding": "vector"}


class EmbeddingHead(nn.Module):
    """A linear map to `dimension` numbers. batch_norm: normalise each of them over the batch, before the length is set
    to 1; several ranks normalise each over its own share.

    While training, the C prototypes of the loss, at length 1 too, follow as further rows: (B + C, D).
    """

    takes: ClassVar[Mapping[Unit, Form]] = EMBEDDING

    def __init__(self, features: Features, num_outputs: int, *, dimension: Positive[int], batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(features.width, dimension, bias=not batch_norm)]
        self.layers = nn.Sequential(*layers, *([nn.BatchNorm1d(dimension)] if batch_norm else []))
        # Not called weight: decay would change the length alone, which has no meaning.
        self.prototypes = nn.Parameter(torch.randn(num_outputs, dimension) / dimension**0.5) if num_outputs else None

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            vectors = _of_unit_length(self.layers(features.float()))
        if self.prototypes is None or not self.training:
            return vectors
        return torch.cat([vectors, _of_unit_length(self.prototypes)])


class IdentityHead(nn.Module):
    """The features themselves, at length 1: there is nothing to learn."""

    takes: ClassVar[Mapping[Unit, Form]] = EMBEDDING

    def __init__(self, features: Features, num_outputs: int) -> None:
        super().__init__()

    def forward(self, features: Tensor) -> Tensor:
        return _of_unit_length(features)


def _of_unit_length(vectors: Tensor) -> Tensor:
    """Compute in float32: bfloat16 has three digits."""
    return normalize(vectors.float(), dim=1)
