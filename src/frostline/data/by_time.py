"""Divide samples by time, so that validation and test are later than what trains. Shapes: N samples."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.data.tables.columns import WHOLE
from frostline.data.tables.table import Row, is_number
from frostline.errors import DataError, counted, shortened
from frostline.faults import of_each

FORMS = "write ISO 8601 (2026-03-01, or 2026-03-01T12:30:00), or numbers, in every line"
AT_RANDOM = "data.split_by=random data.time_column=null"
FAULTY = "samples have no time"


class Times(NamedTuple):
    """column: of the table. texts: the distinct times, earliest first, as the table writes them. places: (N,) index in
    `texts` of each sample, by split."""

    column: str
    texts: list[str]
    places: Mapping[str, Tensor]


def times_of(rows: Mapping[str, Sequence[Row]], column: str) -> Times:
    """Read the column of times: ISO 8601 dates and times, or numbers. rows: by split. Raises DataError that names the
    rows without a time, or if times cannot be compared."""
    every = [row for some in rows.values() for row in some]
    numbers = 2 * sum(is_number(row.cells[column]) for row in every) > len(every)
    values = of_each(lambda row: _number(row, column) if numbers else _moment(row, column), every, FAULTY)
    zoned = [isinstance(value, datetime) and value.utcoffset() is not None for value in values]
    if any(zoned) and not all(zoned):
        raise DataError(
            f"some times in '{column}' name their zone, others do not: '{every[zoned.index(True)].cells[column]}', "
            f"'{every[zoned.index(False)].cells[column]}'",
            where=every[zoned.index(False)].where,
            next_step="write the zone in all times, or in none",
        )
    texts = {value: row.cells[column] for value, row in zip(values, every, strict=True)}
    order = sorted(texts)
    place_of = {value: place for place, value in enumerate(order)}
    places = torch.tensor([place_of[value] for value in values], dtype=torch.int64)
    pieces = places.split([len(some) for some in rows.values()])
    return Times(column, [texts[value] for value in order], dict(zip(rows, pieces, strict=True)))


def _number(row: Row, column: str) -> float:
    """A whole number stays exact: float64 cannot tell nanoseconds since 1970 apart."""
    text = row.cells[column]
    if not is_number(text) or not abs(value := int(text) if WHOLE.fullmatch(text) else float(text)) < float("inf"):
        raise _no_time(row, column)  # `not <` also catches NaN
    return value


def _moment(row: Row, column: str) -> datetime:
    try:
        return datetime.fromisoformat(row.cells[column])
    except ValueError:
        raise _no_time(row, column) from None


def _no_time(row: Row, column: str) -> DataError:
    cell = row.cells[column]
    what = f"'{shortened(cell)}' in '{column}' is not a time" if cell else f"there is no time in '{column}'"
    return DataError(what, where=row.where, next_step=f"{FORMS}; or {AT_RANDOM}")


def time_split(times: Tensor, fraction: float, *, keep: int) -> tuple[Tensor, Tensor]:
    """Return indices (rest, split), each in ascending order: the split has the latest samples, about `fraction` of
    them. Samples of one time stay together, and the rest keeps `keep` different times.

    times: (N,) int64, with at least 1 + `keep` different values.
    """
    different, counts = times.unique(return_counts=True)
    sizes = counts.flip(0).cumsum(0)[: len(different) - keep]  # of the splits that begin at the latest time, ...
    away = (sizes.double() / len(times) - fraction).abs()
    begin = different[len(different) - 1 - int(away.argmin())]
    return (times < begin).nonzero().flatten(), (times >= begin).nonzero().flatten()


def require_times(number: int, needed: int, sides: str, where: object, column: str) -> None:
    """Raises DataError if there are fewer different times than sides. sides: their names."""
    if number < needed:
        raise DataError(
            f"{counted(number, 'different time is', 'different times are')} too few for {sides}: samples of one time "
            "stay together",
            where=where,
            next_step=f"write more exact times into '{column}'; or {AT_RANDOM}",
        )


def time_notes(times: Times, splits: Mapping[str, Tensor]) -> list[str]:
    """Sentences on when each split begins, and on training samples that are not earlier than a later split. splits:
    places of their samples, by name of the split, in the order of training, validation and test."""
    names = [name for name, places in splits.items() if len(places)]
    spans = ", ".join(
        f"{name} from {times.texts[int(splits[name].min())]} to {times.texts[int(splits[name].max())]}"
        for name in names
    )
    notes = [f"by '{times.column}': {spans}"]
    for at, later in enumerate(names):
        for name in names[:at]:
            late = int((splits[name] >= splits[later].min()).sum())
            if late:
                number = counted(late, f"sample of {name} is", f"samples of {name} are")
                notes.append(f"{number} not earlier than the first of {later}")
    return notes
