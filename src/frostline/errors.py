"""Exceptions for the errors that a user can cause.

FrostlineError          exit code 1, no traceback (HYDRA_FULL_ERROR=1 shows it)
├── ConfigError         an option, a key or a value on the command line or in YAML
├── PlanError           phases that cannot be run
├── DataError           data that is missing, unreadable or does not fit the model
├── WeightsError        weights that are missing, broken or from another network
├── RunError            a run folder that is missing, unfinished or not writable
└── RankError           ranks of one run that do not hold the same weights
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tab and newline
FEW = 100  # names listed in a message: more than a user types on a command line
LONG = 100  # characters of a name shown in a message
NEXT = "\n  next:  "


class FrostlineError(Exception):
    """An error that says what happened, where, and what to do next. Separate alternatives in `next_step` by `; or `:
    each is printed on its own line, so that it can be pasted."""

    def __init__(self, what: str, *, where: object = None, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        where = f"\n  where: {self.where}" if self.where is not None else ""
        first, *others = self.next_step.split("; or ")
        return f"{self.what}{where}{NEXT}{first}" + "".join(f"\n    or:  {other}" for other in others)

    def __reduce__(self) -> tuple[object, ...]:
        # An exception with keyword arguments does not survive pickling by default, and worker processes pickle theirs.
        return _rebuild, (type(self), self.what, self.where, self.next_step)


class ConfigError(FrostlineError): ...


class PlanError(FrostlineError): ...


class DataError(FrostlineError): ...


class WeightsError(FrostlineError): ...


class RunError(FrostlineError): ...


class RankError(FrostlineError): ...


class Costly(Exception):
    """No error: an explanation would take longer than it may. The message says how long."""


class Pruned(Exception):
    """No error: a sweep ends a run that is not worth more time. The message says why."""


def shown(text: str) -> str:
    """Escape control characters and marks that change the direction of writing. Without this, class names from a
    stranger's files could move the cursor of the terminal or change its title."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """`shown` for a cell of a table or a label in a picture, which newlines and tabs would break."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def close_names(name: str, known: Iterable[str]) -> str:
    """Return `did you mean a, b?` with the known names that resemble `name`, or list all known names if none does."""
    known = sorted(known)
    close = resembling(name, known)
    if close:
        return f"did you mean {', '.join(map(shortened, close))}?"
    return f"available: {few([shortened(other) for other in known]) or 'none'}"


def resembling(name: str, known: Sequence[str]) -> list[str]:
    """At most three known names that resemble `name`, abbreviations (`lr` for `learning_rate`) first, then those
    that are spelled alike, closest first."""
    if len(name) > LONG:
        return []
    short = [other for other in known if _initials(name) == other or _initials(other) == name]
    import difflib  # half of what printing help would import

    return list(dict.fromkeys([*short, *difflib.get_close_matches(name, known, n=3, cutoff=0.6)]))[:3]


def _initials(name: str) -> str:
    """`learning_rate` → `lr`; "" for a single word."""
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def in_short(message: str) -> str:
    """The first line of an error; if that introduces a list, also the first item."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])


def steps_in(message: str) -> str:
    """The lines `next:` and `or:` of the text of an error, "" if it has none."""
    _, begin, steps = message.rpartition(NEXT)
    return f"{begin[1:]}{steps}" if begin else ""


def few(names: Sequence[str], most: int = FEW) -> str:
    """Join the first names, and add the number of the rest: a text column mistaken for classes has thousands."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, one: str, many: str) -> str:
    """`one picture is` or `1,200 pictures are`, for `picture is` and `pictures are`."""
    return f"one {one}" if number == 1 else f"{number:,} {many}"


def shortened(name: str) -> str:
    """Cut a name after LONG characters: it may be a whole document."""
    return name if len(name) <= LONG else f"{name[:LONG]}…"


def first_line(error: BaseException) -> str:
    """First line of the error's message, or the name of its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def needs(library: str, what: str, *, where: str, extra: str, otherwise: str) -> Iterator[None]:
    """Wrap the import of an optional library. Raises ConfigError if it is not installed.

    what: a clause for the message, like `which makes adapters`. otherwise: what helps without installing it.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{library}, {what}, is not installed: {error}",
            where=where,
            next_step=f'pip install "frostline[{extra}]", or {otherwise}',
        ) from error


def memory_is_short(error: BaseException) -> bool:
    """torch has an exception type for this on GPUs only; on a CPU it raises a plain RuntimeError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )


def _rebuild(kind: type[FrostlineError], what: str, where: object, next_step: str) -> FrostlineError:
    return kind(what, where=where, next_step=next_step)
