"""Combine the predictions of a text's windows. Shapes: R rows of tokens, each a text or a window of one; N texts; W
words; C outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_of_windows(rows: Sequence[Tensor], lengths: Sequence[int], owners: Sequence[int]) -> Tensor:
    """(R, C) → (N, C): the mean over a text's windows, weighted by number of tokens. owners: (R,) text indices."""
    weights = torch.tensor(lengths, dtype=torch.float32)[:, None]
    index = torch.tensor([*owners])
    sums = torch.zeros(int(index[-1]) + 1, len(rows[0])).index_add_(0, index, torch.stack(list(rows)) * weights)
    return sums / torch.zeros(len(sums), 1).index_add_(0, index, weights)


def words_of_windows(
    rows: Sequence[Tensor], words: Sequence[Tensor], owners: Sequence[int], samples: Sequence[Sequence[str]]
) -> list[Tensor]:
    """(L, C) per row → (W, C) per text. A word gets the output at its first token, from the window in which that token
    is farthest from an end. words: (L,) index of the word that begins at each token, negative if none does. Words that
    begin at no token (cut off, or without tokens) get NaN."""
    found = [rows[0].new_full((len(sample), rows[0].shape[1]), torch.nan) for sample in samples]
    margins = [torch.full((len(sample),), -1) for sample in samples]
    for row, begins, owner in zip(rows, words, owners, strict=True):
        places = (begins >= 0).nonzero().flatten()
        margin = torch.minimum(places, len(begins) - 1 - places)
        better = margin > margins[owner][begins[places]]
        chosen = begins[places[better]]
        margins[owner][chosen] = margin[better]
        found[owner][chosen] = row[places[better]]
    return found
