"""The form of the features that a backbone returns and a head takes. Shapes: B samples, D numbers each, L tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# vector: (B, D). tokens: (B, L, D). map: (B, D, H, W) of the last block. pyramid: a list of maps, from fine to coarse.
# parts: by name, a vector (B, D) for each column of a network's part, and what passes the backbone unchanged.
Form = Literal["vector", "tokens", "map", "pyramid", "parts"]
# What each output of a network belongs to. pixel: outputs (B, K, H, W) at the resolution of the finest features. box:
# an object in a picture. embedding: outputs (B, D), vectors of length 1 (heads/embedding.py).
Unit = Literal["sample", "token", "pixel", "box", "embedding"]

# Codes of the cells of a column of names: an empty one, a name that training does not have, and the first of those that
# it has.
MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2

ANY_VECTOR: Mapping[Unit, Form] = {"sample": "vector", "token": "tokens"}


@dataclass(frozen=True)
class Features:
    """widths: D of each level, from fine to coarse; one level unless `form` is `pyramid`; of each column for `parts`.
    strides: pixels of the input per cell of each map; empty for vectors and tokens.
    own_head: makes the module that the network was pretrained with behind these features, for a number of outputs; None
        without one.
    columns: names of the inputs of `parts`. row: what the data says of the inputs that pass unchanged.
    """

    form: Form
    widths: tuple[int, ...]
    strides: tuple[int, ...] = ()
    own_head: Callable[[int], Any] | None = None
    columns: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """D of the last level."""
        return self.widths[-1]


def vector(width: int) -> Features:
    return Features("vector", (width,))


def forms_of(head: object) -> Mapping[Unit, Form]:
    """The form that a head takes for each unit of outputs: its class attribute `takes`, by default `ANY_VECTOR`."""
    forms: Mapping[Unit, Form] = getattr(head, "takes", ANY_VECTOR)
    return forms
