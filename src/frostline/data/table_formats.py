"""Tables as they lie in files: fields with a line of names on top, an object of JSON per line, parquet."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from frostline.data.faults import of_each
from frostline.data.fields import Record, read_fields
from frostline.data.table import Row, Table, is_number, normalised, require_columns
from frostline.data.text_files import read_utf8
from frostline.errors import DataError, few, shortened

SUFFIXES = {".csv": "commas", ".tsv": "tabs", ".jsonl": "an object per line", ".parquet": "as pandas writes it"}
FAULTY = "lines of the table are faulty"
MOST_ROWS = 20_000_000  # of a parquet file, which may hold a billion of one value in a few bytes
BATCH = 65_536  # rows of parquet that are made Python's own at a time


class Wanted(NamedTuple):
    """columns: as `require_columns` takes them. lists: those whose cells may be lists. quotes: see `read_fields`.
    others: whether further columns come, too. problems: as of `of_each`."""

    columns: Collection[str]
    lists: Collection[str]
    quotes: bool | None
    others: bool
    problems: list[DataError] | None


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
    """Of these columns, as `require_columns` takes them; further ones are passed over, unless `others`, and so are
    empty lines. Blanks around a cell go, but those of the `verbatim` columns stay. A cell that is a list, which only
    the `lists` columns may have, comes as a list of JSON. quotes: see `read_fields`. problems: takes the errors of
    single lines, and the others are read. Raises DataError.
    """
    read = _reader(file)(file, Wanted(columns, lists, quotes, others, problems))
    rows = [row.without_blanks([*verbatim, *(row.cells.keys() - set(columns))]) for row in read.rows]
    if not rows and not problems:
        raise DataError("the table has no lines", where=file, next_step="a line for each sample")
    return Table(file, rows, read.notes)


def cell_of(value: Any, where: str, column: str, *, lists: bool = False) -> str:
    """As text: numbers and truth as JSON writes them, nothing for null and NaN. lists: whether a list is allowed, which
    comes as one of JSON. Raises DataError."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if lists and isinstance(value, list | tuple) and not isinstance(value, _Pairs):
        return json.dumps([_item_of(item, where, column) for item in value], ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float | Decimal):
        raise DataError(
            f"'{column}' holds {_said(value)}, and a cell is text or a number",
            where=where,
            next_step="write text; several labels of one sample with data.separator between them",
        )
    text = str(value)
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise DataError(
            f"'{column}' holds a NUL character, or half of one that is written by two codes",
            where=where,
            next_step="correct it: \\u0000 is no text, and \\ud83d alone is half a character",
        )
    return text


def _item_of(value: Any, where: str, column: str) -> Any:
    """Of a list, as JSON has it: whether it is a name or a number is told later."""
    if isinstance(value, list | tuple) and not isinstance(value, _Pairs):
        return [_item_of(item, where, column) for item in value]
    return value if isinstance(value, bool | int | float) else cell_of(value, where, column)


def _cells(values: dict[str, Any], where: str, wanted: Wanted) -> dict[str, str]:
    """Of one row, by column. Further columns may hold anything."""
    return {
        name: cell_of(value, where, name, lists=name in wanted.lists) if name in wanted.columns else _as_it_is(value)
        for name, value in values.items()
    }


def _as_it_is(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(_objects(value), ensure_ascii=False, default=str)


def _objects(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {name: _objects(within) for name, within in value}
    return [_objects(within) for within in value] if isinstance(value, list) else value


def _said(value: Any) -> str:
    """An object is pairs of JSON here, and a dict of parquet."""
    return "an object" if isinstance(value, _Pairs | dict) else f"a {type(value).__name__}"


def _reader(file: Path) -> Callable[[Path, Wanted], Read]:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"a table is a file of {', '.join(SUFFIXES)}, and this is none",
            where=file,
            next_step=f"save it as one of: {', '.join(f'{suffix} ({said})' for suffix, said in SUFFIXES.items())}",
        )
    return {".jsonl": _of_json_lines, ".parquet": _of_parquet}.get(suffix, _of_fields)


def _taken(names: Sequence[str], wanted: Wanted) -> dict[str, int]:
    """Where each column stands that comes, by its name, which is compared after Unicode normalisation."""
    plain = [normalised(name) for name in names]
    taken = {name: plain.index(normalised(name)) for name in wanted.columns}
    if not wanted.others:
        return taken
    used = {place: name for name, place in taken.items()}
    free = [name for name in names if name and names.count(name) == 1 and name not in used.values()]
    return {used.get(place, name): place for place, name in enumerate(names) if place in used or name in free}


# --- separated fields ---


def _of_fields(file: Path, wanted: Wanted) -> Read:
    records, notes = read_fields(file, wanted.quotes)
    if not records:
        raise DataError("the table is empty", where=file, next_step=_names_first(wanted))
    (_, _, names), *samples = records
    names = [name.strip() for name in names]
    _require_names(file, names, samples, wanted)
    places = _taken(names, wanted)

    def row(record: Record) -> Row:
        if len(record.fields) != len(names):
            raise DataError(
                f"this line has {len(record.fields)} fields, and the first line {len(names)}",
                where=f"{file}, line {record.begin}",
                next_step='as many fields in every line; "quotes" around one that holds the separator',
            )
        return Row(file, record.begin, {name: record.fields[place] for name, place in places.items()})

    return Read(of_each(row, samples, FAULTY, wanted.problems), notes)


def _require_names(file: Path, names: Sequence[str], samples: Sequence[Record], wanted: Wanted) -> None:
    """Raises DataError, also where the first line is a sample itself: it has what stands in that column again, or a
    number."""
    where = f"{file}, line 1"
    known = {normalised(name) for name in names}
    if samples and known.isdisjoint(map(normalised, wanted.columns)):
        seen = {(place, field.strip()) for record in samples for place, field in enumerate(record.fields)}
        if any(name and ((place, name) in seen or is_number(name)) for place, name in enumerate(names)):
            raise DataError(
                f"the first line seems to be a sample, and holds no names: {few([shortened(name) for name in names])}",
                where=where,
                next_step=_names_first(wanted),
            )
    semicolons = "separate fields by commas, not by semicolons" if len(names) == 1 and ";" in names[0] else ""
    require_columns(names, wanted.columns, where, semicolons)


def _names_first(wanted: Wanted) -> str:
    return f"a first line of names: {','.join(wanted.columns)}"


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
        hint = "the same names in each line, as in those above; or drop this one"
        cells = {name: pairs[place][1] for name, place in _taken(names, wanted).items()}
        return Row(file, line, _cells(cells, where, wanted))

    lines = ((line, text) for line, text in enumerate(read_utf8(file).split("\n"), 1) if text.strip())
    return Read(of_each(row, lines, FAULTY, wanted.problems), [])


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON as it stands: a name that is there twice stays twice."""


def _pairs(text: str, where: str) -> _Pairs:
    """Of the object that a line holds. Raises DataError."""
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"this line is no JSON: {error}", where=where, next_step='an object in each line: {"text": "...", ...}'
        ) from error
    if not isinstance(pairs, _Pairs):
        raise DataError(
            f"this line holds {_said(pairs)}, and no object",
            where=where,
            next_step='an object in each line: {"text": "...", ...}; a list of all objects is taken apart',
        )
    return pairs


# --- parquet ---


def _of_parquet(file: Path, wanted: Wanted) -> Read:
    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            require_columns(names, wanted.columns, file)
            _require_bounded(opened.metadata.num_rows, file)
            taken = _taken(names, wanted)
            read = [names[place] for place in taken.values()]
            values = (
                cells
                for batch in opened.iter_batches(BATCH, columns=read)
                for cells in zip(*(batch.column(name).to_pylist() for name in read), strict=True)
            )

            def row(numbered: tuple[int, tuple[Any, ...]]) -> Row:
                index, cells = numbered
                named = dict(zip(taken, cells, strict=True))
                return Row(file, index, _cells(named, f"{file}, index {index}", wanted), "index")

            return Read(of_each(row, enumerate(values), FAULTY, wanted.problems), [])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"the parquet file cannot be read: {error}", where=file, next_step="if truncated, copy it again"
        ) from error


def _require_bounded(rows: int, file: Path) -> None:
    if rows > MOST_ROWS:
        raise DataError(
            f"the file says that it has {rows:,} rows, and at most {MOST_ROWS:,} are read",
            where=file,
            next_step="take a sample of it, a few million rows or fewer",
        )
