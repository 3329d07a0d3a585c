"""Errors of many samples in one message."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from frostline.errors import DataError

Item = TypeVar("Item")
Made = TypeVar("Made")
MOST_NAMED = 10  # errors of one message
MOST_KEPT = 1000  # errors, after which no further items are looked at
LONGEST = 300  # characters of each of several


def of_each(
    make: Callable[[Item], Made],
    items: Iterable[Item],
    what: str = "samples cannot be read",
    problems: list[DataError] | None = None,
) -> list[Made]:
    """`make(item)` of every item. Raises one DataError of all that `make` raises; what: happened to so many. problems:
    takes these errors instead, and the others go on."""
    made: list[Made] = []
    errors: list[DataError] = [] if problems is None else problems
    for item in items:
        try:
            made.append(make(item))
        except DataError as error:
            errors.append(error)
            if problems is None and len(errors) == MOST_KEPT:
                break  # the rest will hardly be better
    if errors and problems is None:
        raise together(errors, what)
    return made


def together(errors: Sequence[DataError], what: str, next_step: str | None = None, besides: str = "") -> DataError:
    """One error that names each, up to MOST_NAMED, after their number and `what`. A single one stays as it is, unless
    `besides` says more. next_step: None for those of the errors."""
    if len(errors) == 1 and not besides:
        return errors[0]
    lines = [f"{error.where}: {_cut(error.what)}" for error in errors[:MOST_NAMED]]
    more = len(errors) - len(lines)
    steps = dict.fromkeys(error.next_step for error in errors)
    number = f"{len(errors):,}{' or more' if len(errors) == MOST_KEPT else ''}"
    return DataError(
        "\n  ".join([f"{number} {what}{besides}:", *lines, *([f"and {more:,} more"] if more else [])]),
        next_step=next_step or "\n         ".join([*steps][:3]),
    )


def _cut(what: str) -> str:
    return what if len(what) <= LONGEST else f"{what[:LONGEST]}…"


def at_once(make: Callable[[Item], Made], items: Sequence[Item], what: str) -> list[Made]:
    """`of_each` on several threads: Pillow lets go of the interpreter while it decodes."""
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(make, item) for item in items]
        return of_each(Future.result, jobs, what)
