"""A table of text: comma- or tab-separated, UTF-8, with a line of names on top."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.errors import DataError, close_names

DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Row(NamedTuple):
    """line: where it begins in the file, from 1. cells: by column, without blanks around them."""

    file: Path
    line: int
    cells: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.file}, line {self.line}"


class Table(NamedTuple):
    """rows: at least one."""

    file: Path
    rows: list[Row]


def read_table(file: Path, columns: Sequence[str]) -> Table:
    """Of these columns; further ones are passed over, and so are empty lines. Raises DataError."""
    lines = _lines(file)
    _, names = next(lines, (1, []))
    if not names:
        raise DataError("the table is empty", where=file, next_step=f"a first line of names: {','.join(columns)}")
    _require_names(file, names, columns)
    rows = []
    for line, fields in lines:
        if len(fields) != len(names):
            raise DataError(
                f"this line has {len(fields)} fields, and the first line {len(names)}",
                where=f"{file}, line {line}",
                next_step='as many fields in every line; "quotes" around one that holds the separator',
            )
        cells = dict(zip(names, fields, strict=True))
        rows.append(Row(file, line, {name: cells[name] for name in columns}))
    if not rows:
        raise DataError("the table has names and no lines", where=file, next_step="a line for each picture")
    return Table(file, rows)


def _require_names(file: Path, names: list[str], columns: Sequence[str]) -> None:
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise DataError(
            f"the column '{twice[0]}' is there {names.count(twice[0])} times",
            where=f"{file}, line 1",
            next_step="rename one of them",
        )
    for column in columns:
        if column not in names:
            semicolons = len(names) == 1 and ";" in names[0]
            raise DataError(
                f"there is no column '{column}': {close_names(column, names)}; the columns are {', '.join(names)}",
                where=f"{file}, line 1",
                next_step="separate fields by commas, not by semicolons"
                if semicolons
                else "data.path_column, data.target_columns and data.split_column name columns of this line",
            )


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Fields, and the line on which each record begins: a quoted field may go over several."""
    reader = csv.reader(io.StringIO(_text(file), newline=""), delimiter=_delimiter(file), strict=True)
    begun = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield begun, [field.strip() for field in fields]
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the table cannot be read: {error}",
            where=f"{file}, line {begun}",
            next_step='a quoted field ends with a quote, before the separator; a quote within is doubled: ""',
        ) from error


def _delimiter(file: Path) -> str:
    if file.suffix.lower() not in DELIMITERS:
        raise DataError(
            f"a table is a {' or a '.join(DELIMITERS)} file, and this is none",
            where=file,
            next_step="data.file=<table>.csv, comma-separated, or <table>.tsv, tab-separated",
        )
    return DELIMITERS[file.suffix.lower()]


def _text(file: Path) -> str:
    """The mark that some editors put first is no part of a name. Raises DataError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"the table cannot be read: {error.strerror}", where=file, next_step="data.file=<table>.csv or .tsv"
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"the table is not UTF-8: {error.reason}",
            where=f"{file}, line {line}",
            next_step="save it as UTF-8, say: iconv -f latin1 -t utf-8 old.csv > new.csv",
        ) from error
