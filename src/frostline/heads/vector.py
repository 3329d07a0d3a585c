"""The new part on top. Shapes: features (B, D) → logits (B, C)."""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from frostline.config.ranges import Positive, Probability

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class LinearHead(nn.Module):
    def __init__(self, in_features: int, num_outputs: int, *, dropout: Probability) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_features, num_outputs))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits


def convex_layer(head: nn.Module) -> nn.Linear | None:
    """The Linear layer of a LinearHead without dropout, whose best weights can be computed; else None."""
    if not isinstance(head, LinearHead):
        return None
    dropout, layer = head.layers
    return layer if isinstance(layer, nn.Linear) and dropout.p == 0 else None


class MlpHead(nn.Module):
    """`hidden`: the widths between features and logits. Dropout after each hidden activation."""

    def __init__(
        self,
        in_features: int,
        num_outputs: int,
        *,
        hidden: list[Positive[int]],
        activation: Literal["relu", "gelu", "silu", "tanh"],
        dropout: Probability,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, following in pairwise([in_features, *hidden]):
            layers += [nn.Linear(width, following), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear([in_features, *hidden][-1], num_outputs))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits
