"""Read tables from files: CSV and TSV with a header, JSON Lines, Parquet."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from frostline.data.tables.fields import Record, empty_note, other_separator, read_fields
from frostline.data.tables.kept_columns import AsText, Pairs, taken
from frostline.data.tables.table import Row, Table, is_number, normalised, require_columns
from frostline.data.tables.text_files import read_utf8
from frostline.errors import DataError, few, shortened
from frostline.faults import of_each

SUFFIXES = {".csv": "commas", ".tsv": "tabs", ".jsonl": "an object per line", ".parquet": "as pandas writes it"}
FAULTY = "lines of the table are faulty"
MOST_ROWS = 20_000_000  # of a parquet file, which can encode a billion equal values in a few bytes
BATCH = 65_536  # rows of parquet that are converted to Python objects at a time


class Wanted(NamedTuple):
    """columns: as `require_columns` takes them. lists: columns whose cells may be lists. quotes: see `read_fields`.
    others: whether further columns are read. problems: see `of_each`. text: converts cells of further columns."""

    columns: Collection[str]
    lists: Collection[str]
    quotes: bool | None
    others: bool
    problems: list[DataError] | None
    text: AsText


class Read(NamedTuple):
    rows: list[Row]
    notes: list[str]


def read_table(
    file: Path,
    columns: Collection[str],
    *,
    verbatim: Sequence[str] = (),
    lists: Collection[str] = (),
    quotes: bool | None = None,
    others: bool = False,
    problems: list[DataError] | None = None,
) -> Table:
    """Read `columns`, as `require_columns` takes them, and all further columns if `others`. Empty lines are skipped and
    counted in the notes.

    verbatim: columns whose cells are neither stripped nor normalised. lists: columns whose cells may be lists, which
    become JSON. quotes: see `read_fields`. problems: collects errors of lines; None raises them. Raises DataError.
    """
    text = AsText()
    read = _reader(file)(file, Wanted(columns, lists, quotes, others, problems, text))
    rows = [row.without_blanks([*verbatim, *(row.cells.keys() - set(columns))]) for row in read.rows]
    if not rows and not problems:
        raise DataError("the table has no lines", where=file, next_step="write a line for each sample")
    return Table(file, rows, [*read.notes, *text.notes(file)])


def column_names(file: Path, quotes: bool | None = None) -> list[str]:
    """Names in the header, in the first JSON object, or in the schema. Raises DataError."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        with _parquet(file) as opened:
            return [str(name) for name in opened.schema_arrow.names]
    if suffix == ".jsonl":
        return _first_names(file)
    records = read_fields(file, quotes).records
    return [name.strip() for name in records[0].fields] if records else []


def cell_of(value: Any, where: str, column: str, *, lists: bool = False) -> str:
    """Convert a value to text: booleans as JSON writes them, dates as ISO 8601, null and NaN as an empty cell. lists:
    whether it may be a list, which becomes JSON. Raises DataError."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if lists and isinstance(value, list | tuple) and not isinstance(value, Pairs):
        return json.dumps([_item_of(item, where, column) for item in value], ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float | Decimal | date):  # datetime is a subclass of date
        raise DataError(
            f"'{column}' holds {_described(value)}, but a cell must be text or a number",
            where=where,
            next_step="write text; separate several labels of one sample by data.separator",
        )
    text = str(value)
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise DataError(
            f"'{column}' holds a NUL character or half of a surrogate pair",
            where=where,
            next_step="correct it: \\u0000 is no text, and \\ud83d alone is half a character",
        )
    return text


def _item_of(value: Any, where: str, column: str) -> Any:
    """Convert an item of a list for JSON. Booleans and numbers stay, so that the reader of the list can refuse them."""
    if isinstance(value, list | tuple) and not isinstance(value, Pairs):
        return [_item_of(item, where, column) for item in value]
    return value if isinstance(value, bool | int | float) else cell_of(value, where, column)


def _cells(values: dict[str, Any], where: str, wanted: Wanted) -> dict[str, str]:
    """Convert the cells of one row. Cells of further columns may hold anything."""
    return {
        name: cell_of(value, where, name, lists=name in wanted.lists)
        if name in wanted.columns
        else wanted.text.cell(name, value)
        for name, value in values.items()
    }


def _described(value: Any) -> str:
    """Name a value's type in a message. Objects are Pairs from JSON, and dicts from parquet."""
    return "an object" if isinstance(value, Pairs | dict) else f"a {type(value).__name__}"


def _reader(file: Path) -> Callable[[Path, Wanted], Read]:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"this file is not a table: its suffix is not one of {', '.join(SUFFIXES)}",
            where=file,
            next_step=f"save it as one of: {', '.join(f'{suffix} ({what})' for suffix, what in SUFFIXES.items())}",
        )
    return {".jsonl": _of_json_lines, ".parquet": _of_parquet}.get(suffix, _of_fields)


# --- separated fields ---


def _of_fields(file: Path, wanted: Wanted) -> Read:
    records, notes = read_fields(file, wanted.quotes)
    if not records:
        raise DataError("the table is empty", where=file, next_step=_names_first(wanted))
    (_, _, names), *samples = records
    names = [name.strip() for name in names]
    _require_names(file, names, samples, wanted)
    places = taken(names, wanted.columns, others=wanted.others)

    def row(record: Record) -> Row:
        if record.is_blank:
            raise DataError(
                "this line holds only separators, quotes or blanks",
                where=f"{file}, line {record.begin}",
                next_step="write what is missing, or drop the line",
            )
        if len(record.fields) != len(names):
            raise DataError(
                f"this line has {len(record.fields)} fields, but the header has {len(names)}",
                where=f"{file}, line {record.begin}",
                next_step='write as many fields in every line; put "quotes" around a field that contains the separator',
            )
        return Row(file, record.begin, {name: record.fields[place] for name, place in places.items()})

    return Read(of_each(row, samples, FAULTY, wanted.problems), notes)


def _require_names(file: Path, names: Sequence[str], samples: Sequence[Record], wanted: Wanted) -> None:
    """Raises DataError if a column is missing, or the first line is a sample: it has none of the wanted names, and a
    number or a value that occurs again in its column."""
    where = f"{file}, line 1"
    known = {normalised(name) for name in names}
    if samples and known.isdisjoint(map(normalised, wanted.columns)):
        seen = {(place, field.strip()) for record in samples for place, field in enumerate(record.fields)}
        if any(name and ((place, name) in seen or is_number(name)) for place, name in enumerate(names)):
            raise DataError(
                f"the first line seems to be a sample, not column names: {few([shortened(name) for name in names])}",
                where=where,
                next_step=_names_first(wanted),
            )
    require_columns(names, wanted.columns, where, other_separator(file, names, wanted.columns))


def _names_first(wanted: Wanted) -> str:
    return f"write column names into the first line: {','.join(wanted.columns)}"


# --- an object per line ---


def _of_json_lines(file: Path, wanted: Wanted) -> Read:
    hint = ""

    def row(numbered: tuple[int, str]) -> Row:
        nonlocal hint
        line, text = numbered
        where = f"{file}, line {line}"
        pairs = _pairs(text, where)
        names = [name for name, _ in pairs]
        require_columns(names, wanted.columns, where, hint)
        hint = "use the names of the lines above; or drop this line"
        places = taken(names, wanted.columns, others=wanted.others)
        cells = {name: pairs[place][1] for name, place in places.items()}
        return Row(file, line, _cells(cells, where, wanted))

    lines = _objects_of(file)
    numbers = [line for line, _ in lines]
    empty = sorted({*range(numbers[0], numbers[-1])} - {*numbers}) if lines else []
    notes = empty_note(file, empty, numbers[0], numbers[-1]) if lines else []
    return Read(of_each(row, lines, FAULTY, wanted.problems), notes)


def _first_names(file: Path) -> list[str]:
    """Names in the first object; empty for an empty file. Raises DataError if no line holds an object."""
    problems: list[DataError] = []
    for line, text in _objects_of(file):
        if found := of_each(lambda it: _pairs(it[1], f"{file}, line {it[0]}"), [(line, text)], problems=problems):
            return [name for name, _ in found[0]]
    if problems:
        raise problems[0]
    return []


def _objects_of(file: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    return [(line, text) for line, text in enumerate(read_utf8(file).split("\n"), 1) if text.strip()]


def _pairs(text: str, where: str) -> Pairs:
    """Parse the JSON object in a line. Raises DataError."""
    try:
        pairs = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"this line is not JSON: {error}", where=where, next_step='write one object per line: {"text": "...", ...}'
        ) from error
    if not isinstance(pairs, Pairs):
        raise DataError(
            f"this line holds {_described(pairs)}, not an object",
            where=where,
            next_step='write one object per line: {"text": "...", ...}, not a list of all objects',
        )
    return pairs


# --- parquet ---


def _of_parquet(file: Path, wanted: Wanted) -> Read:
    with _parquet(file) as opened:
        names = opened.schema_arrow.names
        require_columns(names, wanted.columns, file)
        _require_bounded(opened.metadata.num_rows, file)
        places = taken(names, wanted.columns, others=wanted.others)
        columns = [names[place] for place in places.values()]
        copies = [names[:place].count(names[place]) for place in places.values()]  # earlier columns of the same name

        def values() -> Iterator[tuple[Any, ...]]:
            for batch in opened.iter_batches(BATCH, columns=columns):
                fields = zip(columns, copies, strict=True)
                there = [batch.schema.get_all_field_indices(name)[copy] for name, copy in fields]
                yield from zip(*(_python(batch.column(place)) for place in there), strict=True)

        def row(numbered: tuple[int, tuple[Any, ...]]) -> Row:
            index, cells = numbered
            named = dict(zip(places, cells, strict=True))
            return Row(file, index, _cells(named, f"{file}, index {index}", wanted), "index")

        return Read(of_each(row, enumerate(values()), FAULTY, wanted.problems), [])


@contextmanager
def _parquet(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as opened:
            yield opened
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"the parquet file cannot be read: {error}", where=file, next_step="if truncated, copy it again"
        ) from error


def _python(column: pa.Array) -> list[Any]:
    """Convert a column to Python, as text if needed: datetime has no nanoseconds and no years after 9999."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return column.cast(pa.string()).to_pylist()


def _require_bounded(rows: int, file: Path) -> None:
    if rows > MOST_ROWS:
        raise DataError(
            f"the file claims to have {rows:,} rows, but at most {MOST_ROWS:,} are read",
            where=file,
            next_step="take a sample of it, a few million rows or fewer",
        )
