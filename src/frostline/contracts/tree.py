"""Values between blocks, heads and caches: a tensor, `Tokens`, or values by name."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from frostline.contracts.tokens import Tokens, values_of

Value = Tensor | Tokens | Mapping[str, Any]  # of values
V = TypeVar("V", bound=Value)


def mapped(function: Callable[[Tensor], Tensor], value: V) -> V:
    """Apply `function` to every tensor of a value, `Tokens.mask` included."""
    if isinstance(value, Tensor):
        return function(value)  # type: ignore[return-value]
    if isinstance(value, Tokens):
        return Tokens(*map(function, value))  # type: ignore[return-value]
    return {name: mapped(function, within) for name, within in value.items()}  # type: ignore[return-value]


def moved(value: V, device: torch.device) -> V:
    return mapped(lambda tensor: tensor.to(device), value)


def part_of(name: str) -> str:
    """The part of a sample that an input `<part>/<column>` belongs to."""
    return name.partition("/")[0]


def shapes_of(value: Value) -> str:
    """A text that is equal only for values of equal names and shapes."""
    return str(mapped(lambda tensor: torch.tensor(tensor.shape), value))


def largest(value: Value) -> int:
    """Numbers in the largest tensor of a value that is no mask."""
    if isinstance(value, Mapping):
        return max(map(largest, value.values()), default=1)
    return max(values_of(value).numel(), 1)


def repeated(value: V, times: int) -> V:
    """Repeat one sample (1, ...) along the batch; pictures become channels last."""

    def again(x: Tensor) -> Tensor:
        kept = x.expand(times, *x.shape[1:])
        return kept.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else kept.contiguous()

    return mapped(again, value)


BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of a number


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors on the CPU hold the same bits: 0.0 and -0.0 differ, and NaN equals NaN if the bits do."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    return torch.equal(a.detach().view(BITS[a.itemsize]), b.detach().view(BITS[b.itemsize]))
