"""A table whose cells are text, whatever it was read from."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from frostline.errors import DataError, close_names

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
        """Around its cells; those of the `verbatim` columns stay."""
        return self._replace(
            cells={name: cell if name in verbatim else cell.strip() for name, cell in self.cells.items()}
        )


class Table(NamedTuple):
    """rows: at least one."""

    source: object
    rows: list[Row]


def require_columns(names: Sequence[str], wanted: Sequence[str], where: object, hint: str = "") -> None:
    """names: that there are. hint: a next step for the case that one is missing. Raises DataError."""
    for column in wanted:
        if column not in names:
            raise DataError(
                f"there is no column '{column}': {close_names(column, names)}; the columns are {', '.join(names)}",
                where=where,
                next_step=hint
                or "data.text_columns, data.target_columns and the other keys of columns name those that there are; or "
                "rename one of the table's",
            )
        if names.count(column) > 1:
            raise DataError(
                f"the column '{column}' is there {names.count(column)} times",
                where=where,
                next_step="rename one of them",
            )
