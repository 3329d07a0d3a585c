"""Values between blocks, heads and caches: a tensor, `Tokens`, or tensors by name."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from frostline.contracts.tokens import Tokens

Value = Tensor | Tokens | Mapping[str, Tensor]
V = TypeVar("V", bound=Value)


def mapped(function: Callable[[Tensor], Tensor], value: V) -> V:
    """Apply `function` to every tensor of a value, masks included."""
    if isinstance(value, Tensor):
        return function(value)  # type: ignore[return-value]
    if isinstance(value, Tokens):
        return Tokens(*map(function, value))  # type: ignore[return-value]
    return {name: function(tensor) for name, tensor in value.items()}  # type: ignore[return-value]


def moved(value: V, device: torch.device) -> V:
    return mapped(lambda tensor: tensor.to(device), value)
