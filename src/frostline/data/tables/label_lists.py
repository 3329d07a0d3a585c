"""Read several labels from one cell: a list in the notation of JSON or Python, or names separated by a separator."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from frostline.data.tables.table import Row, Table, normalised
from frostline.errors import DataError, shortened
from frostline.faults import together
from frostline.quoting import setting_of

OPENED = {"[": "]", "(": ")", "{": "}"}
# An array as numpy prints it, without commas: Python would concatenate its strings to one name, or fail.
PRINTED = re.compile(r"""\[\s*([\d.+-]+(\s+[\d.+-]+)+|.*['"]\s+['"].*)\s*\]""", re.DOTALL)
USUAL = "|;,/"  # usual separators
MENDED = "write a list with quotes and brackets, as in the other cells: ['red', 'dog']; [] for no label"
PLAIN = "separate names by data.separator='|', like red|dog; or write a column of 0 and 1 for each label"


def as_list(cell: str) -> list[Any] | None:
    """Parse a cell as a JSON list, or as a list, tuple or set of Python; None if it is none of these."""
    if cell == "set()":
        return []
    if OPENED.get(cell[:1]) != cell[-1:] or PRINTED.fullmatch(cell):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(cell)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if isinstance(found, set | frozenset):
        return sorted(found, key=str)
    return list(found) if isinstance(found, list | tuple) else None


def require_separator(table: Table, column: str) -> None:
    """Raises DataError if a cell is not a list, so that a separator is needed. If most cells are lists, it names all
    others; cells that resemble a list are left to `labels_in`."""
    plain = [row for row in table.rows if row.cells[column] and as_list(row.cells[column]) is None]
    plain = [row for row in plain if not _seems_a_list(row.cells[column])]
    if not plain:
        return
    if 2 * len(plain) < sum(bool(row.cells[column]) for row in table.rows):  # most cells are lists
        broken = [_refused(row, column, "not a list, but most cells are", MENDED) for row in plain]
        raise together(broken, "cells are not lists")
    cells = {row.cells[column] for row in plain}
    if cells <= {"0", "1", "0.0", "1.0", "true", "false", "True", "False"}:
        raise DataError(
            f"'{column}' holds a single yes-or-no label, but a multi-label task needs two",
            where=plain[0].where,
            next_step="name a column for each label: data.target_columns=[red,dog]; use task=classification for a "
            "single label",
        )
    counts = {sign: sum(sign in cell for cell in cells) for sign in USUAL}
    raise DataError(
        f"'{shortened(plain[0].cells[column])}' in '{column}' is not a list, and data.separator is not set",
        where=plain[0].where,
        next_step=setting_of("data.separator", max(counts, key=lambda sign: counts[sign])),
    )


def _seems_a_list(cell: str) -> bool:
    """Whether a cell is a list as numpy prints it, or has names without quotes in brackets, which no format allows."""
    return bool(PRINTED.fullmatch(cell)) or (OPENED.get(cell[:1]) == cell[-1:] and "," in cell)


def labels_in(row: Row, column: str, separator: str | None) -> list[str]:
    """Labels in a row's cell. separator: None if all cells are lists. Raises DataError for a list that does not hold
    names."""
    cell = row.cells[column]
    values = as_list(cell)
    if values is not None:
        return _names(values, row, column)
    if not cell:
        return []
    if _seems_a_list(cell):
        how = (
            "without commas, as numpy prints it"
            if PRINTED.fullmatch(cell)
            else "of names without quotes, which no format allows"
        )
        raise _refused(row, column, f"a list {how}")
    assert separator is not None
    return [name for name in map(str.strip, cell.split(separator)) if name]


def separator_notes(table: Table, column: str, separator: str | None) -> list[str]:
    """Return a sentence if no cell contains the separator and some contain another usual one."""
    cells = [row.cells[column] for row in table.rows if as_list(row.cells[column]) is None]
    if separator is None or any(separator in cell for cell in cells):
        return []
    others = {sign: sum(sign in cell for cell in cells) for sign in USUAL if sign != separator}
    sign, count = max(others.items(), key=lambda it: it[1])
    if not count:
        return []
    return [
        f"no sample has two labels: '{separator}' is in no cell of '{column}', but '{sign}' is in {count:,} "
        f"({setting_of('data.separator', sign)})"
    ]


def _names(values: Sequence[Any], row: Row, column: str) -> list[str]:
    if any(isinstance(value, bool | float) or not isinstance(value, str | int) for value in values):
        raise _refused(row, column, "a list of values that are not names")
    if values and set(values) <= {0, 1} and len(set(values)) < len(values):
        raise _refused(row, column, "a vector of 0 and 1, which names no labels")
    return [name for name in (normalised(str(value)) for value in values) if name]


def _refused(row: Row, column: str, what: str, next_step: str = PLAIN) -> DataError:
    return DataError(f"'{shortened(row.cells[column])}' in '{column}' is {what}", where=row.where, next_step=next_step)
