"""Separated fields (RFC 4180): commas or tabs, and quotes around a field that holds one."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.data.tables.table import is_number
from frostline.data.tables.text_files import read_utf8
from frostline.errors import DataError, few

BLANK_BEFORE = re.compile(r'[ \t]+"')  # at the beginning of a field: RFC 4180 takes such a quote for a letter
SHOWN = 5  # records of a note


class Record(NamedTuple):
    """fields: of the lines `begin` to `end` of the file, which are several where a quoted field goes over them."""

    begin: int
    end: int
    fields: list[str]

    @property
    def lines(self) -> str:
        return f"{self.begin} to {self.end}"

    @property
    def is_blank(self) -> bool:
        """Nothing but separators, quotes and blanks: a faulty sample, and no empty line."""
        return not any(field.strip() for field in self.fields)


class Fields(NamedTuple):
    """records: the names first; none of an empty line. notes: how they were read, where it is not as they stand."""

    records: list[Record]
    notes: list[str]


class _Parsed(NamedTuple):
    records: list[Record]
    empty: list[int]  # lines

    def told(self, file: Path) -> list[str]:
        return empty_note(file, self.empty, self.records[0].end, self.records[-1].begin) if self.records else []


def read_fields(file: Path, quotes: bool | None) -> Fields:
    """quotes: whether a quote encloses a field; None as True, and records that a quote seems to have swallowed are
    refused. Raises DataError that names the line.
    """
    text = read_utf8(file)
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    parsed = _parsed(text, file, delimiter, quotes=quotes is not False)
    if quotes is False:
        return Fields(parsed.records, [*parsed.told(file), *_enclosed(parsed.records, file)])
    notes = []
    if any(BLANK_BEFORE.match(field) for record in parsed.records for field in record.fields):
        spaced = _spaced(text, file, delimiter)
        if spaced is not None:
            parsed = spaced
            notes.append(f"{file}: blanks before quotes were passed over")
    records = parsed.records
    notes += parsed.told(file)
    several = [record for record in records if record.end > record.begin]
    if quotes is None:
        _require_nothing_swallowed(several, records, text, file, delimiter)
    if several:
        said = f"in {len(several):,} samples" if len(several) > 1 else "in one sample"
        notes.append(
            f"{file}: quotes enclose several lines {said}: {few([it.lines for it in several], SHOWN)} "
            "(data.quotes=false takes quotes for letters)"
        )
    return Fields(records, notes)


def empty_note(file: Path, empty: Sequence[int], first: int, last: int) -> list[str]:
    """A sentence, if any of these lines lies between the lines `first` and `last`: a program may have meant an empty
    text by it."""
    between = [str(line) for line in empty if first < line < last]
    if not between:
        return []
    if len(between) == 1:
        return [f"{file}: one empty line between samples was passed over: line {between[0]}"]
    return [f"{file}: {len(between):,} empty lines between samples were passed over: lines {few(between, SHOWN)}"]


def _parsed(text: str, file: Path, delimiter: str, *, quotes: bool = True, spaced: bool = False) -> _Parsed:
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        skipinitialspace=spaced,
    )
    found: list[Record] = []
    empty: list[int] = []
    begun = 1
    limit = csv.field_size_limit(len(text) + 1)  # of the whole process: 131,072 characters, and documents are longer
    try:
        for fields in reader:
            record = Record(begun, reader.line_num, fields)
            if _is_empty_line(record, found):
                empty.append(begun)
            elif found or not record.is_blank:  # what is blank above the names is no sample
                found.append(record)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the table cannot be read: {error}",
            where=f"{file}, line {begun}",
            next_step='a quoted field ends with a quote, before the separator, and a quote within is doubled: ""; or '
            "data.quotes=false, which takes all quotes for letters",
        ) from error
    finally:
        csv.field_size_limit(limit)
    return _Parsed(found, empty)


def _is_empty_line(record: Record, found: Sequence[Record]) -> bool:
    """Also one of blanks, unless it is a sample of a table with one column. found: the records above."""
    several = bool(found) and len(found[0].fields) > 1
    return not record.fields or (several and len(record.fields) == 1 and record.fields[0].isspace())


def _enclosed(records: Sequence[Record], file: Path) -> list[str]:
    """A sentence, if quotes that are taken for letters stand around fields."""
    count = sum(len(field) > 1 and field[0] == field[-1] == '"' for record in records for field in record.fields)
    if not count:
        return []
    begin = f"{count:,} fields begin and end" if count > 1 else "one field begins and ends"
    return [f"{file}: {begin} with a quote, which data.quotes=false takes for a letter"]


def _spaced(text: str, file: Path, delimiter: str) -> _Parsed | None:
    """With a blank after each separator: None where that is no way to read the table."""
    try:
        parsed = _parsed(text, file, delimiter, spaced=True)
    except DataError:
        return None
    return parsed if len({len(record.fields) for record in parsed.records if not record.is_blank}) == 1 else None


def _require_nothing_swallowed(
    several: Sequence[Record], records: Sequence[Record], text: str, file: Path, delimiter: str
) -> None:
    """Raises DataError for a record whose lines would be records themselves: as many fields as the first line has, and
    in one column what stands there in records of one line."""
    if not several:
        return
    columns = len(records[0].fields)
    lines = io.StringIO(text, newline=None).read().split("\n")
    seen: dict[int, set[str]] = defaultdict(set)
    for record in records[1:]:
        if record.end == record.begin and not record.is_blank:
            for column, field in enumerate(record.fields):
                seen[column].add(_kind(field))
    for record in several:
        within = [line.split(delimiter) for line in lines[record.begin - 1 : record.end]]
        if columns < 2 or any(len(fields) != columns for fields in within):
            continue
        if any(all(_kind(fields[column]) in seen[column] for fields in within) for column in range(columns)):
            raise DataError(
                f"a quote seems to swallow the samples of lines {record.lines}: each of these lines has "
                f"{columns} fields, as the first line has",
                where=f"{file}, line {record.begin}",
                next_step="data.quotes=false takes quotes for letters; data.quotes=true takes these lines for "
                "one field",
            )


def _kind(field: str) -> str:
    """What is the same for all numbers, and the field itself of others."""
    bare = field.strip(' "')
    return "0" if is_number(bare) else bare
