"""What a user can get wrong, as exceptions.

FrostlineError          exit code 1, no traceback (HYDRA_FULL_ERROR=1 shows it)
├── ConfigError         an option, a key or a value on the command line or in YAML
├── PlanError           phases that cannot be run
├── DataError           data that is missing, unreadable or does not fit the model
├── WeightsError        weights that are missing, broken or of another network
├── RunError            a run folder that is missing, unfinished or not writable
└── RankError           processes of one run that do not hold the same weights
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tab and newline
FEW = 100  # names in a message: all of those that a user writes on a command line
LONG = 100  # characters of a name in a message


class FrostlineError(Exception):
    """What happened, where, and what to do next. next_step: alternatives are separated by `; or `, and each is printed
    on its own line, so that it can be pasted."""

    def __init__(self, what: str, *, where: object = None, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        where = f"\n  where: {self.where}" if self.where is not None else ""
        first, *others = self.next_step.split("; or ")
        return f"{self.what}{where}\n  next:  {first}" + "".join(f"\n    or:  {other}" for other in others)

    def __reduce__(self) -> tuple[object, ...]:
        # An exception with keyword arguments does not survive pickling by default, and worker processes pickle theirs.
        return _rebuild, (type(self), self.what, self.where, self.next_step)


class ConfigError(FrostlineError): ...


class PlanError(FrostlineError): ...


class DataError(FrostlineError): ...


class WeightsError(FrostlineError): ...


class RunError(FrostlineError): ...


class RankError(FrostlineError): ...


def shown(text: str) -> str:
    """As a terminal may have it: control characters, by which names of a stranger's classes could move the cursor or
    change the title, and marks that turn the direction of writing are written as escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def close_names(name: str, known: Iterable[str]) -> str:
    """`did you mean a, b?` for the known names that resemble `name`; else the known names themselves."""
    known = sorted(known)
    close = resembling(name, known)
    if close:
        return f"did you mean {', '.join(map(shortened, close))}?"
    return f"there is: {few([shortened(other) for other in known]) or 'none'}"


def resembling(name: str, known: Sequence[str]) -> list[str]:
    """Three of the known names at most, the closest first."""
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6) if len(name) <= LONG else []


def few(names: Sequence[str], most: int = FEW) -> str:
    """The first of them, and how many more there are: a column of texts taken for classes has thousands."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def shortened(name: str) -> str:
    """A name as it is, and of a whole document its beginning."""
    return name if len(name) <= LONG else f"{name[:LONG]}…"


def first_line(error: BaseException) -> str:
    """Of its message, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def needs(library: str, what: str, *, where: str, extra: str, otherwise: str) -> Iterator[None]:
    """For an import within. what: it does here. Raises ConfigError where the library is not installed."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{library}, {what}, is not installed: {error}",
            where=where,
            next_step=f'pip install "frostline[{extra}]", or {otherwise}',
        ) from error


def memory_is_short(error: BaseException) -> bool:
    """torch has a type for it on GPUs only: on a CPU it is a RuntimeError like any other."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def _rebuild(kind: type[FrostlineError], what: str, where: object, next_step: str) -> FrostlineError:
    return kind(what, where=where, next_step=next_step)
