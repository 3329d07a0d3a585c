"""Heads made of linear layers, in float32. Shapes: vectors (B, D) → outputs (B, K), tokens (B, L, D) → (B, L, K), maps
(B, D, H, W) → (B, K, H, W), K = num_outputs.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from frostline.config.ranges import Positive, Probability
from frostline.contracts.features import ANY_VECTOR, Features, Form, Unit

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
EACH: Mapping[Unit, Form] = {**ANY_VECTOR, "pixel": "map"}


class LinearHead(nn.Module):
    takes = EACH

    def __init__(self, features: Features, num_outputs: int, *, dropout: Probability) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features.width, num_outputs))
        self.on_maps = features.form == "map"

    def forward(self, features: Tensor) -> Tensor:
        return _of_last(self.layers, features, on_maps=self.on_maps)


def convex_layer(head: nn.Module) -> nn.Linear | None:
    """The Linear layer of a LinearHead without dropout, whose optimal weights can be computed; else None."""
    if not isinstance(head, LinearHead):
        return None
    dropout, layer = head.layers
    return layer if isinstance(layer, nn.Linear) and dropout.p == 0 else None


class MlpHead(nn.Module):
    """`hidden`: widths between features and outputs. Dropout follows each hidden activation."""

    takes = EACH

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        *,
        hidden: list[Positive[int]],
        activation: Literal["relu", "gelu", "silu", "tanh"],
        dropout: Probability,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, following in pairwise([features.width, *hidden]):
            layers += [nn.Linear(width, following), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear([features.width, *hidden][-1], num_outputs))
        self.on_maps = features.form == "map"

    def forward(self, features: Tensor) -> Tensor:
        return _of_last(self.layers, features, on_maps=self.on_maps)


def _of_last(layers: nn.Module, features: Tensor, *, on_maps: bool) -> Tensor:
    """Apply layers to the last dimension, or to the channels of maps: in float32 whatever the precision of the network,
    as outputs in bfloat16 have three digits. A step of a linear head on a CPU with AMX takes 0.9 (512 features, 10
    classes, a batch of 64) to 2.1 times as long (2,048 and 1,000), milliseconds beside the backbone's."""
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        outputs: Tensor = layers(features.movedim(1, -1)).movedim(-1, 1) if on_maps else layers(features)
    return outputs
