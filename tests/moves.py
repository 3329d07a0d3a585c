"""A geometry for tests: it moves maps and boxes by given functions."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


def unused(values: Tensor) -> Tensor:
    raise AssertionError("this type moves by the other function")


class Moves(NamedTuple):
    maps: Callable[[Tensor], Tensor] = unused
    boxes: Callable[[Tensor], Tensor] = unused
    sides: tuple[int, int] = (32, 48)
