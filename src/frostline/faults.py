"""Collect the errors of many samples into one message."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from frostline.errors import DataError

Item = TypeVar("Item")
Made = TypeVar("Made")
MOST_NAMED = 10  # errors listed in one message
MOST_KEPT = 1000  # errors after which the remaining items are skipped
LONGEST = 300  # characters of each listed error


def of_each(
    make: Callable[[Item], Made],
    items: Iterable[Item],
    what: str = "samples cannot be read",
    problems: list[DataError] | None = None,
) -> list[Made]:
    """Call `make` on each item. Raises one DataError that combines those of `make`; `what` follows their number in its
    message. problems: if given, the errors are appended here and the results of the other items are returned."""
    made: list[Made] = []
    errors: list[DataError] = [] if problems is None else problems
    for item in items:
        try:
            made.append(make(item))
        except DataError as error:
            errors.append(error)
            if problems is None and len(errors) == MOST_KEPT:
                break  # the remaining items are unlikely to be better
    if errors and problems is None:
        raise together(errors, what)
    return made


def together(errors: Sequence[DataError], what: str, next_step: str | None = None, besides: str = "") -> DataError:
    """Combine errors into one: their number, `what`, `besides`, then up to MOST_NAMED of them. A single error is
    returned unchanged if `besides` is empty. next_step: None takes the steps of the errors, at most three."""
    if len(errors) == 1 and not besides:
        return errors[0]
    lines = [f"{error.where}: {_cut(error.what)}" for error in errors[:MOST_NAMED]]
    more = len(errors) - len(lines)
    steps = dict.fromkeys(error.next_step for error in errors)
    if len(errors) == 1:
        what = what.replace("s cannot", " cannot", 1)
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
