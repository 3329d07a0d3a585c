"""Several labels in one cell: a list as JSON or Python writes it, or names with a separator between them."""

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
# As numpy prints an array, which Python would read as one name, or as nothing.
PRINTED = re.compile(r"""\[\s*([\d.+-]+(\s+[\d.+-]+)+|.*['"]\s+['"].*)\s*\]""", re.DOTALL)
USUAL = "|;,/"  # between labels
MENDED = "a list with its quotes and brackets, as in the other cells: ['red', 'dog']; [] for no label"
PLAIN = "names with data.separator='|' between them, say red|dog; or a column of 0 and 1 for each label"


def as_list(cell: str) -> list[Any] | None:
    """What a cell holds as JSON, or a list, tuple or set of Python; None if it is no such list."""
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
    """Raises DataError for the first cell that is no list."""
    plain = [row for row in table.rows if row.cells[column] and as_list(row.cells[column]) is None]
    plain = [row for row in plain if not _seems_a_list(row.cells[column])]
    if not plain:
        return
    if 2 * len(plain) < sum(bool(row.cells[column]) for row in table.rows):  # lists, but for a few cells
        broken = [_refused(row, column, "no list, and most cells are one", MENDED) for row in plain]
        raise together(broken, "cells are no lists")
    cells = {row.cells[column] for row in plain}
    if cells <= {"0", "1", "0.0", "1.0", "true", "false", "True", "False"}:
        raise DataError(
            f"'{column}' holds one label, yes or no, and a multi-label task needs two",
            where=plain[0].where,
            next_step="name a column for each label: data.target_columns=[red,dog]; one label alone is a class of two "
            "(task=classification)",
        )
    counts = {sign: sum(sign in cell for cell in cells) for sign in USUAL}
    raise DataError(
        f"'{shortened(plain[0].cells[column])}' in '{column}' is not a list, and data.separator is not set",
        where=plain[0].where,
        next_step=setting_of("data.separator", max(counts, key=lambda sign: counts[sign])),
    )


def _seems_a_list(cell: str) -> bool:
    """Names in brackets without quotes, too, which no format has."""
    return bool(PRINTED.fullmatch(cell)) or (OPENED.get(cell[:1]) == cell[-1:] and "," in cell)


def labels_in(row: Row, column: str, separator: str | None) -> list[str]:
    """separator: None where all cells are lists. Raises DataError for lists that name no labels."""
    cell = row.cells[column]
    values = as_list(cell)
    if values is not None:
        return _names(values, row, column)
    if not cell:
        return []
    if _seems_a_list(cell):
        how = "numpy prints it, without commas" if PRINTED.fullmatch(cell) else "no format has it, names without quotes"
        raise _refused(row, column, f"a list as {how}")
    assert separator is not None
    return [name for name in map(str.strip, cell.split(separator)) if name]


def separator_notes(table: Table, column: str, separator: str | None) -> list[str]:
    """A sentence, if no cell has the separator and some have another."""
    cells = [row.cells[column] for row in table.rows if as_list(row.cells[column]) is None]
    if separator is None or any(separator in cell for cell in cells):
        return []
    others = {sign: sum(sign in cell for cell in cells) for sign in USUAL if sign != separator}
    sign, count = max(others.items(), key=lambda it: it[1])
    if not count:
        return []
    return [
        f"no sample has two labels: '{separator}' stands in no cell of '{column}', and '{sign}' in {count:,} "
        f"({setting_of('data.separator', sign)})"
    ]


def _names(values: Sequence[Any], row: Row, column: str) -> list[str]:
    if any(isinstance(value, bool | float) or not isinstance(value, str | int) for value in values):
        raise _refused(row, column, "a list of something else than names")
    if values and set(values) <= {0, 1} and len(set(values)) < len(values):
        raise _refused(row, column, "a vector of 0 and 1, which names no labels")
    return [name for name in (normalised(str(value)) for value in values) if name]


def _refused(row: Row, column: str, what: str, next_step: str = PLAIN) -> DataError:
    return DataError(f"'{shortened(row.cells[column])}' in '{column}' is {what}", where=row.where, next_step=next_step)
