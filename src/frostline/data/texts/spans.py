"""Where the tokens of a text lie in it. Shapes: L tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.data.texts.tokenized import Tokenizer


class Span(NamedTuple):
    """text: index of the token's text in a pair. word: index of its word. start, end: its characters."""

    text: int
    word: int
    start: int
    end: int


def spans_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Span | None]:
    """The span of each token of a text or pair, in the order of its row; None for special tokens."""
    found = tokenizer.encoding(texts)
    each = zip(found.sequence_ids, found.word_ids, found.offsets, strict=True)
    return [None if text is None or word is None else Span(text, word, *ends) for text, word, ends in each]


def padded_out(ids: Tensor, spans: Sequence[Span | None], padding: int) -> Tensor:
    """(L,) ids with padding in place of all but special tokens."""
    return ids.masked_fill(torch.tensor([span is not None for span in spans], device=ids.device), padding)
