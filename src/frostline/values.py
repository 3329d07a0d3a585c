"""Ranges for constructor parameters that come from YAML: `batch_size: Positive[int]` says, and lets `signatures` check.

Each is `Annotated[type, condition]`; a condition is a Python comparison of `x`.
"""

from typing import Annotated, TypeVar

Number = TypeVar("Number", int, float)

Positive = Annotated[Number, "x > 0"]
NonNegative = Annotated[Number, "x >= 0"]
Fraction = Annotated[float, "0 < x < 1"]  # a proper part of a whole
Seed = Annotated[int, "0 <= x < 2**32"]
Probability = Annotated[float, "0 <= x < 1"]
