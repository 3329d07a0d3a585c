"""Ranges for constructor parameters that come from YAML: `batch_size: Positive[int]`, which `signatures` checks."""

from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeVar

Number = TypeVar("Number", int, float)


class Condition(NamedTuple):
    """A condition in words, for messages, and as a function."""

    condition: str
    holds: Callable[[float], bool]


Positive = Annotated[Number, Condition("x > 0", lambda x: x > 0)]
NonNegative = Annotated[Number, Condition("x >= 0", lambda x: x >= 0)]
Rate = Annotated[float, Condition("0 < x <= 1000", lambda x: 0 < x <= 1000)]  # a larger step overflows float32
Cells = Annotated[float, Condition("1 <= x <= 64", lambda x: 1 <= x <= 64)]  # of a map; a smaller box rounds to nothing
Fraction = Annotated[float, Condition("0 < x < 1", lambda x: 0 < x < 1)]  # neither none nor all
Seed = Annotated[int, Condition("0 <= x < 2**32", lambda x: 0 <= x < 2**32)]
Probability = Annotated[float, Condition("0 <= x < 1", lambda x: 0 <= x < 1)]
