"""The columns of a table by kind, and their cells as values. Shapes: N rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frostline.data.files.paths import FilePaths
from frostline.data.tables.columns import LARGEST
from frostline.data.tables.table import Row, is_number, normalised
from frostline.data.texts.strings import Places
from frostline.errors import DataError, shortened
from frostline.faults import of_each
from frostline.quoting import list_of

WHOLE_FLOAT = re.compile(r"([+-]?\d{1,1000})\.0")
UNKNOWN_NUMBERS = {"", "na", "n/a", "nan", "null", "none"}  # cells that say that a number is missing, in lower case


class Kinds(NamedTuple):
    """Names of the columns of each kind."""

    images: tuple[str, ...]
    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    ids: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Columns whose cells are names, each of which gets a vector."""
        return self.categories + self.ids

    @property
    def settings(self) -> dict[str, str]:
        """The setting that names each column."""
        return {
            name: setting
            for setting, names in zip(SETTINGS.values(), self, strict=True)
            for name in names
        }  # fmt: skip

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Kinds":
        """fields: as `_asdict` returns it, with lists."""
        return cls(*(tuple(fields[field]) for field in cls._fields))


SETTINGS = {
    "images": "data.image_columns",
    "texts": "data.text_columns",
    "numbers": "data.number_columns",
    "categories": "data.category_columns",
    "ids": "data.id_columns",
}


@dataclass(frozen=True)
class Columns:
    """images: None where a cell is empty. texts, names: "" likewise. numbers: (N,) float64, NaN likewise. places: of
    the rows, for messages."""

    images: dict[str, list[Path | None]]
    texts: dict[str, list[str]]
    numbers: dict[str, Tensor]
    names: dict[str, list[str]]
    places: Places

    def __len__(self) -> int:
        return len(self.places.numbers)

    def taken(self, places: Sequence[int]) -> "Columns":
        """The rows at `places`."""

        def of(cells: dict[str, list[Any]]) -> dict[str, list[Any]]:
            return {name: [own[place] for place in places] for name, own in cells.items()}

        numbers = {name: values[list(places)] for name, values in self.numbers.items()}
        own = self.places._replace(numbers=[self.places.numbers[place] for place in places])
        return Columns(of(self.images), of(self.texts), numbers, of(self.names), own)

    def without(self, dropped: Sequence[str]) -> "Columns":
        """Leave out columns of pictures and texts."""
        images = {name: cells for name, cells in self.images.items() if name not in dropped}
        return replace(self, images=images, texts={name: it for name, it in self.texts.items() if name not in dropped})


class _Cells(NamedTuple):
    row: Row
    images: list[Path | None]
    texts: list[str]
    numbers: list[float]
    names: list[str]


def columns_of(
    rows: Sequence[Row],
    kinds: Kinds,
    paths: FilePaths,
    problems: list[DataError] | None = None,
    *,
    known: bool = False,
) -> tuple[list[Row], Columns]:
    """Read the cells of each row; return the rows that can be read. problems: see `of_each`. known: whether a trained
    run has settled the kinds. Raises DataError that names the lines of faulty cells."""

    def cells(row: Row) -> _Cells:
        own = {name: row.cells.get(name, "") for name in kinds.settings}
        return _Cells(
            row,
            [_file(own[name].strip(), row, paths) for name in kinds.images],
            [own[name] if own[name].strip() else "" for name in kinds.texts],
            [_number(own[name].strip(), name, row, known=known) for name in kinds.numbers],
            [whole(normalised(own[name])) for name in kinds.names],
        )

    read = of_each(cells, rows, "rows have faulty cells", problems)
    numbers = torch.tensor([it.numbers for it in read], dtype=torch.float64).view(len(read), len(kinds.numbers))
    found = [it.row for it in read]
    unit = found[0].unit if found else "line"
    places = Places(found[0].source if found else "", [row.place for row in found], unit)
    return found, Columns(
        {name: [it.images[place] for it in read] for place, name in enumerate(kinds.images)},
        {name: [it.texts[place] for it in read] for place, name in enumerate(kinds.texts)},
        {name: numbers[:, place] for place, name in enumerate(kinds.numbers)},
        {name: [it.names[place] for it in read] for place, name in enumerate(kinds.names)},
        places,
    )


def whole(name: str) -> str:
    """`3` for `3.0`: pandas writes whole numbers so if a cell of their column is empty."""
    found = WHOLE_FLOAT.fullmatch(name)
    return found[1] if found else name


def _file(path: str, row: Row, paths: FilePaths) -> Path | None:
    return paths.find(path, row.where) if path else None


def _number(cell: str, column: str, row: Row, *, known: bool) -> float:
    if cell.lower() in UNKNOWN_NUMBERS:
        return float("nan")
    if not is_number(cell):
        raise DataError(
            f"'{shortened(cell)}' in '{column}' is not a number",
            where=row.where,
            next_step="correct it (a decimal point, no unit), or empty the cell if it is not known"
            + ("" if known else f"; or {list_of('data.category_columns', [column])}"),
        )
    value = float(cell)
    if not abs(value) <= LARGEST:
        raise DataError(
            f"'{shortened(cell)}' in '{column}' is infinite, or larger than float32 can hold",
            where=row.where,
            next_step="correct it, or empty the cell if the number is not known",
        )
    return value
