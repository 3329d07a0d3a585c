"""Text on its way through a network. Shapes: B samples, L tokens of the longest of them."""

from typing import NamedTuple

from torch import Tensor


class Tokens(NamedTuple):
    """values: (B, L, 2) int64, each token and its segment, as the first block takes them; (B, L, D) from there on.
    mask: (B, L) bool, True where a token is; padding is at the right, and what stands there has no meaning.
    """

    values: Tensor
    mask: Tensor
