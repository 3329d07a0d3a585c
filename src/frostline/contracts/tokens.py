"""Text on its way through a network. Shapes: B samples, L tokens of the longest of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Tokens(NamedTuple):
    """values: (B, L, 2) int64, each token and its segment, as the first block takes them; (B, L, D) from there on.
    mask: (B, L) bool, True where a token is; padding is at the right, and what stands there has no meaning.
    """

    values: Tensor
    mask: Tensor


def padded(samples: Sequence[Tensor]) -> Tokens:
    """Samples (L, ...) of several lengths, with zeros where they end."""
    lengths = torch.tensor([len(sample) for sample in samples])
    values = pad_sequence(list(samples), batch_first=True)
    return Tokens(values, torch.arange(values.shape[1]) < lengths[:, None])


def rows_at(flat: Tensor, starts: Tensor, index: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """Samples (L, *shape) that lie one after the other in `flat`; starts: (N + 1,) where each begins."""
    bounds = zip(starts[index].tolist(), starts[index + 1].tolist(), strict=True)
    return [flat[start:end].view(-1, *shape) for start, end in bounds]


def values_of(x: Tensor | Tokens) -> Tensor:
    return x.values if isinstance(x, Tokens) else x


def with_values(x: Tensor | Tokens, values: Tensor) -> Tensor | Tokens:
    return x._replace(values=values) if isinstance(x, Tokens) else values


def repeated(x: Tensor | Tokens, times: int) -> Tensor | Tokens:
    """One sample (1, ...) so many times."""
    if isinstance(x, Tokens):
        return Tokens(x.values.repeat(times, 1, 1), x.mask.repeat(times, 1))
    return x.expand(times, *x.shape[1:]).contiguous(memory_format=torch.channels_last)
