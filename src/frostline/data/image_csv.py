"""Your own pictures by a table of paths and targets: classes, labels or numbers, as the task wants them."""

from pathlib import Path
from typing import Any

from frostline.data.columns import READ, require_targets
from frostline.data.image_folder import PARTS
from frostline.data.picture_data import PictureData
from frostline.data.pictures import FilePictures
from frostline.data.source import Sources
from frostline.data.table import Row, Table
from frostline.data.table_formats import read_table
from frostline.errors import DataError, close_names
from frostline.paths import at_home


class ImageCsv(PictureData):
    """file: the table, with a line of names on top. The other keys are explained in conf/data/image_csv.yaml.

    Raises DataError that names the line of the table.
    """

    kinds = ("class", "labels", "numbers")
    divides = "data.split_column"

    def __init__(
        self,
        spec: Any,
        *,
        file: str,
        dir: str | None,
        path_column: str,
        target_columns: list[str],
        separator: str | None,
        split_column: str | None,
        **common: Any,
    ) -> None:
        self.file = self.where = at_home(file)
        self.dir = at_home(dir) if dir is not None else self.file.parent
        self.name = self.file.stem
        self.path_column = path_column
        self.target_columns = target_columns
        self.separator = separator
        self.split_column = split_column
        super().__init__(spec, **common)

    def read(self) -> Sources:
        split = [self.split_column] if self.split_column is not None else []
        require_targets(self.target_kind, self.target_columns, self.separator, [self.path_column, *split])
        settings = {self.path_column: "data.path_column", **dict.fromkeys(split, "data.split_column")}
        table = read_table(self.file, settings | dict.fromkeys(self.target_columns, "data.target_columns"))
        parts = self._parts(table)
        files = self._files(table)
        names, targets = READ[self.target_kind](table, self.target_columns, self.separator, training=parts["train"])
        found = {
            part: FilePictures([files[place] for place in places], targets[places], root=self.dir, spec=self.spec)
            for part, places in parts.items()
            if places
        }
        return Sources(names, found["train"], found.get("val"), found.get("test"))

    def _parts(self, table: Table) -> dict[str, list[int]]:
        """Rows of each part; all are of training where no column says otherwise."""
        parts: dict[str, list[int]] = {part: [] for part in PARTS}
        part_of = {name: part for part, names in PARTS.items() for name in names}
        for place, row in enumerate(table.rows):
            said = "train" if self.split_column is None else row.cells[self.split_column].lower()
            if said not in part_of:
                raise DataError(
                    f"'{said}' is no part of the data: {close_names(said, part_of)}",
                    where=row.where,
                    next_step=f"train, val or test in the column '{self.split_column}'",
                )
            parts[part_of[said]].append(place)
        if not parts["train"]:
            raise DataError(
                f"no line is of the training part by the column '{self.split_column}'",
                where=self.file,
                next_step="write train into it, or data.split_column=null to have the parts split at random",
            )
        return parts

    def _files(self, table: Table) -> list[Path]:
        """Raises DataError where a picture is not there, or named twice: it would be trained and tested on."""
        files, seen = [], dict[Path, Row]()
        for row in table.rows:
            file = self._placed(row)
            if file in seen:
                before = f"{seen[file].unit} {seen[file].place}"
                raise DataError(
                    f"the picture '{row.cells[self.path_column]}' stands in {before} already",
                    where=row.where,
                    next_step="one line for each picture; several labels of one: task=multi_label",
                )
            if not file.is_file():
                raise DataError(
                    f"there is no such picture: {file}",
                    where=row.where,
                    next_step="correct the path, or data.dir=<the folder to which paths are relative>",
                )
            seen[file] = row
            files.append(file)
        return files

    def _placed(self, row: Row) -> Path:
        """In `dir`, without detours: the same picture is the same path."""
        said = row.cells[self.path_column]
        inside = Path(said)
        if inside.is_absolute() and inside.is_relative_to(self.dir.absolute()):
            inside = inside.relative_to(self.dir.absolute())
        parts: list[str] = []
        for part in inside.parts:
            if part != ".." or not parts or parts[-1] == "..":
                parts.append(part)
            else:
                parts.pop()
        if not said or not parts or parts[0] == ".." or inside.is_absolute():
            raise DataError(
                f"the path '{said}' leads to no picture in {self.dir}",
                where=row.where,
                next_step="paths relative to data.dir=<the folder of all pictures>",
            )
        return self.dir.joinpath(*parts)
