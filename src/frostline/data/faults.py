"""Errors of many samples in one message."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from frostline.errors import DataError

Item = TypeVar("Item")
Made = TypeVar("Made")
MOST_NAMED = 10  # errors of one message


def of_each(make: Callable[[Item], Made], items: Iterable[Item], what: str = "samples cannot be read") -> list[Made]:
    """`make(item)` of every item. Raises one DataError of all that `make` raises; what: happened to so many."""
    made, errors = [], []
    for item in items:
        try:
            made.append(make(item))
        except DataError as error:
            errors.append(error)
    if errors:
        raise together(errors, what)
    return made


def together(errors: Sequence[DataError], what: str, next_step: str | None = None, besides: str = "") -> DataError:
    """One error that names each, up to MOST_NAMED, after their number and `what`. A single one stays as it is, unless
    `besides` says more. next_step: None for those of the errors."""
    if len(errors) == 1 and not besides:
        return errors[0]
    lines = [f"{error.where}: {error.what}" for error in errors[:MOST_NAMED]]
    more = len(errors) - len(lines)
    steps = dict.fromkeys(error.next_step for error in errors)
    return DataError(
        "\n  ".join([f"{len(errors):,} {what}{besides}:", *lines, *([f"and {more:,} more"] if more else [])]),
        next_step=next_step or "\n         ".join([*steps][:3]),
    )
