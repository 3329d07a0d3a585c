"""The form of the features that a backbone returns and a head takes. Shapes: B samples, D numbers each, L tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# vector: (B, D). tokens: (B, L, D). map: (B, D, H, W) of the last block. pyramid: a list of maps, from fine to coarse.
Form = Literal["vector", "tokens", "map", "pyramid"]
# What each output of a network belongs to. pixel: outputs (B, K, H, W) at the resolution of the finest features. box:
# an object in a picture. embedding: outputs (B, D), vectors of length 1 (heads/embedding.py).
Unit = Literal["sample", "token", "pixel", "box", "embedding"]

ANY_VECTOR: Mapping[Unit, Form] = {"sample": "vector", "token": "tokens"}


@dataclass(frozen=True)
class Features:
    """widths: D of each level, from fine to coarse; one level unless `form` is `pyramid`.
    strides: pixels of the input per cell of each map; empty for vectors and tokens.
    own_head: makes the module that the network was pretrained with behind these features, for a number of outputs; None
        without one.
    """

    form: Form
    widths: tuple[int, ...]
    strides: tuple[int, ...] = ()
    own_head: Callable[[int], Any] | None = None

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
