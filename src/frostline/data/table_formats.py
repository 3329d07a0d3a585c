"""Tables as they lie in files: fields with a line of names on top, an object of JSON per line, parquet."""

import csv
import io
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from frostline.data.table import Row, Table, require_columns
from frostline.data.text_files import read_utf8
from frostline.errors import DataError

SUFFIXES = {".csv": "commas", ".tsv": "tabs", ".jsonl": "an object per line", ".parquet": "as pandas writes it"}


def read_table(file: Path, columns: Collection[str], *, verbatim: Sequence[str] = ()) -> Table:
    """Of these columns, as `require_columns` takes them; further ones are passed over, and so are empty lines. Blanks
    around a cell go, but those of the `verbatim` columns stay. Raises DataError.
    """
    rows = [row.without_blanks(verbatim) for row in _reader(file)(file, columns)]
    if not rows:
        raise DataError("the table has no lines", where=file, next_step="a line for each sample")
    return Table(file, rows)


def cell_of(value: Any, where: str, column: str) -> str:
    """As text: numbers and truth as JSON writes them, nothing for null and NaN. Raises DataError."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
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


def _said(value: Any) -> str:
    """An object is pairs of JSON here, and a dict of parquet."""
    return "an object" if isinstance(value, _Pairs | dict) else f"a {type(value).__name__}"


def _reader(file: Path) -> Callable[[Path, Collection[str]], Iterable[Row]]:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"a table is a file of {', '.join(SUFFIXES)}, and this is none",
            where=file,
            next_step=f"save it as one of: {', '.join(f'{suffix} ({said})' for suffix, said in SUFFIXES.items())}",
        )
    return {".jsonl": _of_json_lines, ".parquet": _of_parquet}.get(suffix, _of_fields)


# --- separated fields ---


def _of_fields(file: Path, columns: Collection[str]) -> Iterator[Row]:
    lines = iter(_lines(file))
    _, names = next(lines, (1, []))
    names = [name.strip() for name in names]
    if not names:
        raise DataError("the table is empty", where=file, next_step=f"a first line of names: {','.join(columns)}")
    semicolons = "separate fields by commas, not by semicolons" if len(names) == 1 and ";" in names[0] else ""
    require_columns(names, columns, f"{file}, line 1", semicolons)
    places = {name: names.index(name) for name in columns}
    for line, fields in lines:
        if len(fields) != len(names):
            raise DataError(
                f"this line has {len(fields)} fields, and the first line {len(names)}",
                where=f"{file}, line {line}",
                next_step='as many fields in every line; "quotes" around one that holds the separator',
            )
        yield Row(file, line, {name: fields[place] for name, place in places.items()})


def _lines(file: Path) -> list[tuple[int, list[str]]]:
    """Fields, and the line on which each record begins: a quoted field may go over several."""
    text = read_utf8(file)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = []
    begun = 1
    limit = csv.field_size_limit(len(text) + 1)  # of the whole process: 131,072 characters, and documents are longer
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                found.append((begun, fields))
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the table cannot be read: {error}",
            where=f"{file}, line {begun}",
            next_step='a quoted field ends with a quote, before the separator; a quote within is doubled: ""',
        ) from error
    finally:
        csv.field_size_limit(limit)
    return found


# --- an object per line ---


def _of_json_lines(file: Path, columns: Collection[str]) -> Iterator[Row]:
    hint = ""
    for line, text in enumerate(read_utf8(file).split("\n"), 1):
        if not text.strip():
            continue
        where = f"{file}, line {line}"
        pairs = _pairs(text, where)
        require_columns([name for name, _ in pairs], columns, where, hint)
        hint = "the same names in each line, as in those above; or drop this one"
        said = dict(pairs)
        yield Row(file, line, {name: cell_of(said[name], where, name) for name in columns})


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


def _of_parquet(file: Path, columns: Collection[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            require_columns(names, columns, file)
            read = opened.read(columns=[*columns])
            values = [read.column(name).to_pylist() for name in columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"the parquet file cannot be read: {error}", where=file, next_step="if truncated, copy it again"
        ) from error
    for index, cells in enumerate(zip(*values, strict=True)):
        where = f"{file}, index {index}"
        said = {name: cell_of(cell, where, name) for name, cell in zip(columns, cells, strict=True)}
        yield Row(file, index, said, "index")
