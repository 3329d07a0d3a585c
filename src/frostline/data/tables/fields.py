"""Parse CSV and TSV (RFC 4180): fields separated by commas or tabs; a field that contains one is quoted."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.data.tables.table import is_number, normalised
from frostline.data.tables.text_files import read_utf8
from frostline.errors import DataError, few

BLANK_BEFORE = re.compile(r'[ \t]+"')  # at the start of a field; RFC 4180 reads such a quote as a plain character
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars (|)"}
SUFFIX_OF = {",": ".csv", "\t": ".tsv"}
SHOWN = 5  # records or lines listed in a note


class Record(NamedTuple):
    """begin, end: first and last line in the file, from 1; they differ if a quoted field spans several lines."""

    begin: int
    end: int
    fields: list[str]

    @property
    def lines(self) -> str:
        return f"{self.begin} to {self.end}"

    @property
    def is_blank(self) -> bool:
        """Whether there are only separators, quotes and blanks: a faulty sample, unlike an empty line."""
        return not any(field.strip() for field in self.fields)


class Fields(NamedTuple):
    """records: the header first; empty lines are skipped. notes: sentences on anything not read literally."""

    records: list[Record]
    notes: list[str]


class _Parsed(NamedTuple):
    records: list[Record]
    empty: list[int]  # numbers of empty lines

    def told(self, file: Path) -> list[str]:
        return empty_note(file, self.empty, self.records[0].end, self.records[-1].begin) if self.records else []


def _separator_of(file: Path) -> str:
    return "\t" if file.suffix.lower() == ".tsv" else ","


def read_fields(file: Path, quotes: bool | None) -> Fields:
    """quotes: whether quotes enclose fields; None: they do, with an error if one seems to swallow further records.
    Raises DataError that names the line.
    """
    text = read_utf8(file)
    delimiter = _separator_of(file)
    parsed = _parsed(text, file, delimiter, quotes=quotes is not False)
    if quotes is False:
        return Fields(parsed.records, [*parsed.told(file), *_enclosed(parsed.records, file)])
    notes = []
    if any(BLANK_BEFORE.match(field) for record in parsed.records for field in record.fields):
        spaced = _spaced(text, file, delimiter)
        if spaced is not None:
            parsed = spaced
            notes.append(f"{file}: blanks before quotes were ignored")
    records = parsed.records
    notes += parsed.told(file)
    several = [record for record in records if record.end > record.begin]
    if quotes is None:
        _require_nothing_swallowed(several, records, text, file, delimiter)
    if several:
        there = f"in {len(several):,} samples" if len(several) > 1 else "in one sample"
        notes.append(
            f"{file}: quotes enclose several lines {there}: {few([it.lines for it in several], SHOWN)} "
            "(data.quotes=false reads quotes as plain characters)"
        )
    return Fields(records, notes)


def other_separator(file: Path, names: Sequence[str], wanted: Collection[str]) -> str:
    """Return the next step if the header is a single field, which another separator divides; else an empty string. If
    several do, it is the one that yields most of the wanted names, then most names."""
    expected, known = _separator_of(file), set(map(normalised, wanted))

    def likely(separator: str) -> tuple[int, int]:
        fields = {normalised(field.strip().strip('"')) for field in names[0].split(separator)}
        return len(fields & known), len(fields)

    others = [it for it in SEPARATORS if it != expected and it in names[0]] if len(names) == 1 else []
    if not others:
        return ""
    found = max(others, key=likely)
    suffix = f"; or name the file {file.stem}{SUFFIX_OF[found]}" if found in SUFFIX_OF else ""
    return f"separate fields by {SEPARATORS[expected]}, not by {SEPARATORS[found]}{suffix}"


def empty_note(file: Path, empty: Sequence[int], first: int, last: int) -> list[str]:
    """Return a sentence if one of the empty lines lies between the lines `first` and `last`: a program may have written
    an empty text there."""
    between = [str(line) for line in empty if first < line < last]
    if not between:
        return []
    if len(between) == 1:
        return [f"{file}: one empty line between samples was skipped: line {between[0]}"]
    return [f"{file}: {len(between):,} empty lines between samples were skipped: lines {few(between, SHOWN)}"]


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
    limit = csv.field_size_limit(len(text) + 1)  # the default, 131,072 characters, is less than a long document
    try:
        for fields in reader:
            record = Record(begun, reader.line_num, fields)
            if _is_empty_line(record, found):
                empty.append(begun)
            elif found or not record.is_blank:  # skip blank lines above the header
                found.append(record)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the table cannot be read: {error}",
            where=f"{file}, line {begun}",
            next_step='end a quoted field with a quote right before the separator, and double quotes within it: ""; or '
            "data.quotes=false, which reads all quotes as plain characters",
        ) from error
    finally:
        csv.field_size_limit(limit)
    return _Parsed(found, empty)


def _is_empty_line(record: Record, found: Sequence[Record]) -> bool:
    """Whether a line is empty, or blank in a table of several columns: in a single column, blanks are a sample. found:
    the records above."""
    several = bool(found) and len(found[0].fields) > 1
    return not record.fields or (several and len(record.fields) == 1 and record.fields[0].isspace())


def _enclosed(records: Sequence[Record], file: Path) -> list[str]:
    """Return a sentence if quotes enclose fields although they are read as plain characters."""
    count = sum(len(field) > 1 and field[0] == field[-1] == '"' for record in records for field in record.fields)
    if not count:
        return []
    begin = f"{count:,} fields begin and end" if count > 1 else "one field begins and ends"
    return [f"{file}: {begin} with a quote, which data.quotes=false reads as a plain character"]


def _spaced(text: str, file: Path, delimiter: str) -> _Parsed | None:
    """Parse the table, ignoring blanks after separators; None if that fails or gives records of different lengths."""
    try:
        parsed = _parsed(text, file, delimiter, spaced=True)
    except DataError:
        return None
    return parsed if len({len(record.fields) for record in parsed.records if not record.is_blank}) == 1 else None


def _require_nothing_swallowed(
    several: Sequence[Record], records: Sequence[Record], text: str, file: Path, delimiter: str
) -> None:
    """Raises DataError for a record of several lines if each of them could be a record: it has as many fields as the
    header, and there is a column in which all of them have values, none empty, that occur in records of one line."""
    if not several:
        return
    columns = len(records[0].fields)
    lines = io.StringIO(text, newline=None).read().split("\n")
    seen: dict[int, set[str]] = defaultdict(set)
    for record in records[1:]:
        if record.end == record.begin and not record.is_blank:
            for column, field in enumerate(record.fields):
                seen[column] |= {_kind(field)} - {""}
    for record in several:
        within = [line.split(delimiter) for line in lines[record.begin - 1 : record.end]]
        if columns < 2 or any(len(fields) != columns for fields in within):
            continue
        if any(all(_kind(fields[column]) in seen[column] for fields in within) for column in range(columns)):
            raise DataError(
                f"a quote seems to swallow the samples of lines {record.lines}: each of these lines has "
                f"{columns} fields, like the header",
                where=f"{file}, line {record.begin}",
                next_step="data.quotes=false, if quotes are plain characters; or data.quotes=true, if these lines are "
                "one field",
            )


def _kind(field: str) -> str:
    """Map all numbers to "0", and any other field to itself without quotes and blanks around it."""
    bare = field.strip(' "')
    return "0" if is_number(bare) else bare
