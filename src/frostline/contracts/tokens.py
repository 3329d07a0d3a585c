"""Tokens of texts, as blocks of a network take and return them. Shapes: B samples, L tokens of the longest."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Tokens(NamedTuple):
    """values: (B, L, 2) int64 token and segment ids of texts, or (B, L, 1) float values of sounds, which the first
    block takes; (B, L, D) after it. The first block may return another number of tokens (`Spec.tokens_of`).
    mask: (B, L) bool, True for real tokens; padding is at the right, and its values have no meaning.
    """

    values: Tensor
    mask: Tensor


def padded(samples: Sequence[Tensor]) -> Tokens:
    """Pad samples (L, ...) of different lengths with zeros at the end."""
    lengths = torch.tensor([len(sample) for sample in samples])
    values = pad_sequence(list(samples), batch_first=True)
    return Tokens(values, torch.arange(values.shape[1]) < lengths[:, None])


def rows_at(flat: Tensor, starts: Tensor, index: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """Slice samples (L, *shape) out of `flat`, which holds all in sequence. starts: (N + 1,) offsets in `flat`."""
    bounds = zip(starts[index].tolist(), starts[index + 1].tolist(), strict=True)
    return [flat[start:end].view(-1, *shape) for start, end in bounds]


def values_of(x: Tensor | Tokens) -> Tensor:
    return x.values if isinstance(x, Tokens) else x


def mask_of(x: Tensor | Tokens) -> Tensor | None:
    return x.mask if isinstance(x, Tokens) else None


def with_values(x: Tensor | Tokens, values: Tensor) -> Tensor | Tokens:
    return x._replace(values=values) if isinstance(x, Tokens) else values
