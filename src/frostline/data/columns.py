"""Columns of a table as targets. Shapes: N rows, C columns or labels. Names are those of the training rows, and every
function raises DataError that names the line where a row has none of them.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from frostline.data.table import Row, Table
from frostline.errors import DataError, close_names

WHOLE = re.compile(r"[+-]?\d+")
YES_OR_NO = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0}  # the last four as pandas writes
LARGEST = torch.finfo(torch.float32).max
Names = list[str]


def classes_of(
    table: Table, columns: Sequence[str], separator: str | None, training: Sequence[int]
) -> tuple[Names, Tensor]:
    """The names in one column, (N,) int64. Whole numbers are names, too, in their order."""
    (column,) = columns
    for row in table.rows:
        if not row.cells[column]:
            raise DataError(
                f"there is no class in '{column}'", where=row.where, next_step="write one, or drop the line"
            )
    _require_no_measures(table, column)
    found = {table.rows[place].cells[column] for place in training}
    whole = all(WHOLE.fullmatch(name) for name in found)
    names = sorted(found, key=lambda name: (int(name), name)) if whole else sorted(found)
    if len(names) < 2:
        raise DataError(
            f"a classification needs two classes, and all of training is '{names[0]}' in '{column}'",
            where=table.file,
            next_step="add pictures of another class, or name another column: data.target_columns=[<column>]",
        )
    places = {name: place for place, name in enumerate(names)}
    return names, torch.tensor([_place(row, row.cells[column], places) for row in table.rows])


def labels_of(
    table: Table, columns: Sequence[str], separator: str | None, training: Sequence[int]
) -> tuple[Names, Tensor]:
    """(N, C) of 0 and 1: a column for each label, or the labels themselves in one, with `separator` between them."""
    if separator is None:
        return [*columns], torch.tensor([[_yes_or_no(row, column) for column in columns] for row in table.rows])
    said = [[part.strip() for part in row.cells[columns[0]].split(separator)] for row in table.rows]
    said = [[label for label in labels if label] for labels in said]
    names = sorted({label for place in training for label in said[place]})
    if len(names) < 2:
        raise DataError(
            f"a multi-label task needs two labels, and '{columns[0]}' has {', '.join(names) or 'none'} in training",
            where=table.file,
            next_step=f"labels with '{separator}' between them, or data.separator=<what stands there>",
        )
    places = {name: place for place, name in enumerate(names)}
    targets = torch.zeros(len(said), len(names))
    for number, (row, labels) in enumerate(zip(table.rows, said, strict=True)):
        for label in labels:
            targets[number, _place(row, label, places)] = 1.0
    return names, targets


def numbers_of(
    table: Table, columns: Sequence[str], separator: str | None, training: Sequence[int]
) -> tuple[Names, Tensor]:
    """(N, C) float32."""
    return [*columns], torch.tensor([[_number(row, column) for column in columns] for row in table.rows])


def _require_no_measures(table: Table, column: str) -> None:
    """Raises DataError where a column holds numbers that are not all whole: they are no names of classes."""
    values = [row.cells[column] for row in table.rows]
    broken = [place for place, value in enumerate(values) if not WHOLE.fullmatch(value)]
    if broken and all(_is_number(value) for value in values):
        raise DataError(
            f"'{values[broken[0]]}' in '{column}' is a number and no name of a class",
            where=table.rows[broken[0]].where,
            next_step="task=regression to learn numbers; classes are names, or whole numbers (1 and not 1.0)",
        )


def _place(row: Row, name: str, places: dict[str, int]) -> int:
    if name not in places:
        raise DataError(
            f"'{name}' does not occur in the training part: {close_names(name, places)}",
            where=row.where,
            next_step="correct it, drop the line, or move some of these pictures to training",
        )
    return places[name]


def _yes_or_no(row: Row, column: str) -> float:
    value = row.cells[column].lower()
    if value not in YES_OR_NO:
        raise DataError(
            f"'{value}' in '{column}' is neither 0 nor 1",
            where=row.where,
            next_step="0 or 1 for each label; numbers are for task=regression, names for data.separator='|'",
        )
    return YES_OR_NO[value]


def _number(row: Row, column: str) -> float:
    value = row.cells[column]
    if not _is_number(value) or not abs(float(value)) <= LARGEST:  # nor is it for NaN
        raise DataError(
            f"'{value}' in '{column}' is no number, or none that float32 holds",
            where=row.where,
            next_step="correct it (a decimal point, no unit), drop the line, or task=classification to learn names",
        )
    return float(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
