"""Read targets from columns of a table. Shapes: N rows, C columns or labels.

Names come from the training rows, or are `known`: those of a trained run. Every function raises DataError that names
the lines with other names.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from frostline.data.tables.label_lists import as_list, labels_in, require_separator
from frostline.data.tables.table import Row, Table, is_number
from frostline.errors import DataError, close_names, shortened
from frostline.faults import of_each

WHOLE = re.compile(r"[+-]?\d{1,1000}")  # Python refuses to convert more than 4,300 digits
YES_OR_NO = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0}  # the last four as pandas writes
NUMBERED = (
    "0 is the first of data.class_names; write 1, not 1.0 (pandas: .astype(int)); data.class_names=null uses the "
    "values in the column as names; -1 marks withheld targets"
)
LINES = "samples have faulty targets"
LARGEST = torch.finfo(torch.float32).max
Names = list[str]


def classes_of(table: Table, column: str, training: Sequence[int], known: Names | None = None) -> tuple[Names, Tensor]:
    """Read class names from one column: names and (N,) int64. If all names are whole numbers, they are sorted by
    value."""
    _require_a_class(table, column)
    if known is not None:
        return known, _numbered(table, column, known)
    _require_no_measures(table, column)
    found = {table.rows[place].cells[column] for place in training}
    names = _sorted(found)
    _require_two(found, table, column)
    return names, _numbered(table, column, names)


def open_classes_of(
    table: Table, column: str, training: Sequence[int], known: Names | None = None
) -> tuple[Names, Tensor]:
    """Like `classes_of`, but rows that do not train, or are scored by a trained run, may have further names: these
    follow, sorted in the same way."""
    _require_a_class(table, column)
    first = known if known is not None else _sorted({table.rows[place].cells[column] for place in training})
    names = [*first, *_sorted({row.cells[column] for row in table.rows} - {*first})]
    return names, _numbered(table, column, names)


def _sorted(names: set[str]) -> Names:
    """Sort by value if all are whole numbers."""
    whole = all(WHOLE.fullmatch(name) for name in names)
    return sorted(names, key=lambda name: (int(name), name)) if whole else sorted(names)


def _numbered(table: Table, column: str, names: Names) -> Tensor:
    places = {name: place for place, name in enumerate(names)}
    return torch.tensor(of_each(lambda row: _place(row, row.cells[column], places), table.rows, LINES))


def numbered_of(
    table: Table, column: str, class_names: Names, training: Sequence[int], known: Names | None = None
) -> tuple[Names, Tensor]:
    """Read one column of whole numbers, (N,) int64, which are indices in `class_names`. Training rows need two classes,
    unless names are `known`."""
    _require_a_class(table, column)
    places = {str(place): place for place in range(len(class_names))}

    def number(row: Row) -> int:
        if row.cells[column] not in places:
            raise DataError(
                f"'{shortened(row.cells[column])}' in '{column}' is not a whole number from 0 to "
                f"{len(class_names) - 1}, the index of a name in data.class_names",
                where=row.where,
                next_step=NUMBERED,
            )
        return places[row.cells[column]]

    targets = torch.tensor(of_each(number, table.rows, LINES))
    if known is None:
        _require_two({class_names[place] for place in targets[torch.as_tensor(training)].tolist()}, table, column)
    return class_names, targets


def labels_of(
    table: Table, columns: Sequence[str], separator: str | None, training: Sequence[int], known: Names | None = None
) -> tuple[Names, Tensor]:
    """Read labels, (N, C) of 0 and 1: from a column of 0 and 1 per label, or from one column of names, as lists or
    separated by `separator`."""
    if len(columns) > 1:
        return [*columns], torch.tensor(of_each(lambda row: [_yes_or_no(row, it) for it in columns], table.rows, LINES))
    if separator is None:
        require_separator(table, columns[0])
    own_labels = of_each(lambda row: labels_in(row, columns[0], separator), table.rows, LINES)
    names = known or sorted({label for place in training for label in own_labels[place]})
    if len(names) < 2:
        raise DataError(
            f"a multi-label task needs two labels, but '{columns[0]}' has {', '.join(names) or 'none'} in training",
            where=table.source,
            next_step=f"separate labels by '{separator or '|'}', or set data.separator=<their separator>",
        )
    places = {name: place for place, name in enumerate(names)}
    targets = torch.zeros(len(own_labels), len(names))

    def mark(numbered: tuple[int, tuple[Row, Names]]) -> None:
        number, (row, labels) = numbered
        for label in labels:
            targets[number, _place(row, label, places)] = 1.0

    of_each(mark, enumerate(zip(table.rows, own_labels, strict=True)), LINES)
    return names, targets


def numbers_of(table: Table, columns: Sequence[str]) -> tuple[Names, Tensor]:
    """Read numbers, (N, C) float32."""
    return [*columns], torch.tensor(of_each(lambda row: [_number(row, it) for it in columns], table.rows, LINES))


def _require_a_class(table: Table, column: str) -> None:
    """Raises DataError if a cell is empty, or all cells are lists of labels."""

    def require(row: Row) -> None:
        if not row.cells[column]:
            raise DataError(
                f"there is no class in '{column}'", where=row.where, next_step="write one, or drop the line"
            )

    of_each(require, table.rows, LINES)
    if all(as_list(row.cells[column]) is not None for row in table.rows):
        raise DataError(
            f"'{shortened(table.rows[0].cells[column])}' in '{column}' is a list, but each sample has one class",
            where=table.rows[0].where,
            next_step="task=multi_label if a sample has several labels, or write only the name of its class",
        )


def _require_two(found: set[str], table: Table, column: str) -> None:
    """Raises DataError if there is only one class. found: names in the training rows."""
    if len(found) < 2:
        raise DataError(
            f"a classification needs two classes, but all training rows have '{shortened(min(found))}' in '{column}'",
            where=table.source,
            next_step="add samples of another class, or name another column: data.target_columns=[<column>]",
        )


def _require_no_measures(table: Table, column: str) -> None:
    """Raises DataError if a column holds only numbers, some of them fractions: these are not class names."""
    values = [row.cells[column] for row in table.rows]
    broken = [place for place, value in enumerate(values) if not WHOLE.fullmatch(value)]
    if broken and all(is_number(value) for value in values):
        raise DataError(
            f"'{values[broken[0]]}' in '{column}' is a number, not the name of a class",
            where=table.rows[broken[0]].where,
            next_step="task=regression to learn numbers; class names are text or whole numbers: 1, not 1.0 (pandas "
            "writes 1.0 if cells are missing: fill or drop them, then .astype(int))",
        )


def _place(row: Row, name: str, places: dict[str, int]) -> int:
    if name not in places:
        raise DataError(
            f"'{shortened(name)}' does not occur in the training split: {close_names(name, places)}",
            where=row.where,
            next_step="correct it, drop the line, or move some of these samples to training",
        )
    return places[name]


def _yes_or_no(row: Row, column: str) -> float:
    value = row.cells[column].lower()
    if value not in YES_OR_NO:
        raise DataError(
            f"'{shortened(value)}' in '{column}' is neither 0 nor 1",
            where=row.where,
            next_step="write 0 or 1 for each label; use task=regression for numbers, data.separator='|' for names",
        )
    return YES_OR_NO[value]


def _number(row: Row, column: str) -> float:
    value = row.cells[column]
    if not is_number(value) or not abs(float(value)) <= LARGEST:  # `not <=` also catches NaN
        raise DataError(
            f"'{shortened(value)}' in '{column}' is not a number that float32 can hold",
            where=row.where,
            next_step="correct it (a decimal point, no unit), drop the line, or task=classification to learn names",
        )
    return float(value)
