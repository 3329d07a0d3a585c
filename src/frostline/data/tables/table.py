"""A table whose cells are text, in whatever format it was read."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from frostline.errors import DataError, few, resembling, shortened

Unit = Literal["line", "index"]


class Row(NamedTuple):
    """source: the file or data set of the row. place: by `unit`, its first line, from 1, or its index, from 0. cells:
    by column; empty if the value is missing.
    """

    source: object
    place: int
    cells: dict[str, str]
    unit: Unit = "line"

    @property
    def where(self) -> str:
        return f"{self.source}, {self.unit} {self.place}"

    def without_blanks(self, verbatim: Sequence[str]) -> "Row":
        """Strip and normalise the cells, so that equal names compare equal, except in the `verbatim` columns."""
        cells = {name: cell if name in verbatim else normalised(cell) for name, cell in self.cells.items()}
        return self._replace(cells=cells)


class Table(NamedTuple):
    """rows: at least one, unless all were faulty and their errors collected. notes: sentences on anything not read
    literally."""

    source: object
    rows: list[Row]
    notes: Sequence[str] = ()


def normalised(name: str) -> str:
    """Strip, and compose characters (Unicode NFC): macOS writes `ö` as `o` and a combining mark."""
    return name.strip() if name.isascii() else unicodedata.normalize("NFC", name.strip())


def is_number(text: str) -> bool:
    """Whether `float` parses the text. It also accepts underscores, but 1_0 is a name in a table."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def require_columns(names: Sequence[str], wanted: Collection[str], where: object, hint: str = "") -> None:
    """Raises DataError if a wanted column is missing or appears twice.

    names: columns of the table. wanted: may map each column to its setting (`data.text_columns`, `data.path_column`),
    for the next step. hint: replaces the next step for a missing column.
    """
    plain = [normalised(name) for name in names]
    for column in wanted:
        if normalised(column) not in plain:
            close = resembling(column, names)
            meant = f": did you mean {', '.join(map(shortened, close))}?" if close else ""
            settings = wanted if isinstance(wanted, Mapping) else {}
            raise DataError(
                f"there is no column '{column}'{meant}; the columns are {few([shortened(name) for name in names])}",
                where=where,
                next_step=hint or _other_column(column, [*close, *names], settings),
            )
        count = plain.count(normalised(column))
        if count > 1:
            raise DataError(
                f"the column '{column}' appears {count} times",
                where=where,
                next_step="rename one of them",
            )


def _other_column(missing: str, names: Sequence[str], settings: Mapping[str, str]) -> str:
    """Next step for a missing column: set its setting to a column in no other use, or rename one. names: of the table,
    the most similar first."""
    free = [name for name in names if name not in settings]
    if missing not in settings or not free:
        return "rename one of the table's columns"
    setting = settings[missing]
    named = [free[0] if name == missing else name for name, its in settings.items() if its == setting]
    value = f"[{','.join(named)}]" if setting.endswith("columns") else free[0]
    return f"{setting}={value}, or another column; or rename a column"
