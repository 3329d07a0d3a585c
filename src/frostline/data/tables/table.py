"""A table whose cells are text, whatever it was read from."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from frostline.errors import DataError, few, resembling, shortened

Unit = Literal["line", "index"]


class Row(NamedTuple):
    """source: a file, or what else holds the row. place: the line on which it begins, from 1, or, where there are no
    lines, its index, from 0, which `unit` tells. cells: by column; an empty one says nothing.
    """

    source: object
    place: int
    cells: dict[str, str]
    unit: Unit = "line"

    @property
    def where(self) -> str:
        return f"{self.source}, {self.unit} {self.place}"

    def without_blanks(self, verbatim: Sequence[str]) -> "Row":
        """Around its cells, which are normalised, so that equal names are equal; those of the `verbatim` columns stay
        as they are."""
        cells = {name: cell if name in verbatim else normalised(cell) for name, cell in self.cells.items()}
        return self._replace(cells=cells)


class Table(NamedTuple):
    """rows: at least one, unless all were faulty and that was collected. notes: how they were read, if otherwise than
    they stand."""

    source: object
    rows: list[Row]
    notes: Sequence[str] = ()


def normalised(name: str) -> str:
    """In Unicode's composed form, without blanks around it: a Mac writes `ö` as `o` and two dots."""
    return name.strip() if name.isascii() else unicodedata.normalize("NFC", name.strip())


def is_number(text: str) -> bool:
    """Underlines are for Python's source, where `float` passes over them: 1_0 is a name."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def require_columns(names: Sequence[str], wanted: Collection[str], where: object, hint: str = "") -> None:
    """names: that there are. wanted: where it is a mapping, each with the setting that names it, `data.text_columns` of
    several or `data.path_column` of one. hint: a next step for the case that one is missing. Raises DataError.
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
    """To name one of those that there are, the best first, and that is in no other use; or to rename it."""
    free = [name for name in names if name not in settings]
    if missing not in settings or not free:
        return "rename one of the table's columns"
    setting = settings[missing]
    named = [free[0] if name == missing else name for name, its in settings.items() if its == setting]
    said = f"[{','.join(named)}]" if setting.endswith("columns") else free[0]
    return f"{setting}={said}, or another of the columns; or rename one of them"
