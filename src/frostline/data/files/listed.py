"""A reader of files that a table lists with their targets: classes, labels or numbers, by the task."""

from pathlib import Path
from typing import ClassVar

from frostline.contracts.targets import Targets
from frostline.data.files.class_folders import SPLITS
from frostline.data.files.kind import FileKind
from frostline.data.files.paths import FilePaths
from frostline.data.files.samples import SampleFiles
from frostline.data.reader import Found, Reader, name_of
from frostline.data.split_columns import SplitBy, SplitColumns
from frostline.data.tables.formats import read_table
from frostline.data.tables.label_lists import separator_notes
from frostline.data.tables.table import Row, Table
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError, close_names, shortened
from frostline.faults import of_each
from frostline.paths import at_home


class ListedFiles(Reader):
    """files, samples: what a subclass reads, and what its modality takes. conf/data/image_csv.yaml explains the
    settings. Raises DataError that names the line of the table."""

    files: ClassVar[FileKind]
    samples: ClassVar[type[SampleFiles]]
    kinds = ()
    reads_columns = True
    named_by = "data.file"
    divides = "data.split_column"

    def __init__(
        self,
        *,
        file: str,
        dir: str | None,
        path_column: str,
        suffix: str,
        target_columns: list[str],
        separator: str | None,
        quotes: bool | None,
        split_column: str | None,
        split_by: SplitBy,
        time_column: str | None,
        user_column: str | None,
        relevant: float | str | None,
        group_column: str | None,
        group_columns: list[str] | None,
    ) -> None:
        self.file = self.where = at_home(file)
        self.dir = at_home(dir) if dir is not None else self.file.parent
        self.name = name_of(self.file)
        self.path_column = path_column
        self.paths = FilePaths(self.files, self.dir, suffix, self.file.parent)
        self.target_columns = target_columns
        self.separator = separator
        self.quotes = quotes
        self.split_column = split_column
        self.divided = SplitColumns(
            split_by=split_by,
            time_column=time_column,
            user_column=user_column,
            relevant=relevant,
            group_column=group_column,
            group_columns=group_columns,
        )
        self.ungroups = self.divided.ungroups
        self.read_notes: list[str] = []

    def read(self, target: TargetType, known: Targets | None) -> Found:
        scored = known is not None
        further = {} if self.split_column is None else {self.split_column: "data.split_column"}
        further |= self.divided.settings(scored=scored)
        inputs = {self.path_column: "data.path_column"}
        target.require_columns(self.target_columns, self.separator, inputs, further)
        settings = inputs | further
        columns = settings | dict.fromkeys(self.target_columns, "data.target_columns")
        lists = self.target_columns if target.cells_hold_lists else []
        table = read_table(self.file, columns, verbatim=[self.path_column], lists=lists, quotes=self.quotes)
        files = of_each(self._file, table.rows, f"{self.files.many} are missing")
        table, files = self._without_repeats(table, files)
        known_names = None if known is None else known.names
        splits = self._splits(table, needs_train=known is None)
        given = self.vocabulary_for(target) if known is None else None
        names, targets = target.read(table, self.target_columns, self.separator, splits["train"], known_names, given)
        self.read_notes += [*table.notes, *self.paths.notes()]
        self.read_notes += target.reading_notes(table, self.target_columns, names)
        self.read_notes += separator_notes(table, self.target_columns[0], self.separator)
        found = {
            split: self.samples([files[place] for place in places], targets[places], self.dir)
            for split, places in splits.items()
            if places
        }
        train = found.get("train") or next(iter(found.values()))
        rows = {split: [table.rows[place] for place in places] for split, places in splits.items() if places}
        own = self.divided.found(rows, scored=scored)
        return Found(names, train, found.get("val"), found.get("test"), self.read_notes, **own)

    def vocabulary_for(self, target: TargetType) -> list[str] | None:
        """The names of targets, if a file lists them. Raises ConfigError if the target type takes none, DataError if
        the file cannot be read."""
        return None

    def _file(self, row: Row) -> Path:
        return self.paths.find(row.cells[self.path_column].strip(), row.where)

    def _splits(self, table: Table, *, needs_train: bool) -> dict[str, list[int]]:
        """Indices of the rows of each split; without a split column, all rows are training rows."""
        splits: dict[str, list[int]] = {split: [] for split in SPLITS}
        split_of = {name: split for split, names in SPLITS.items() for name in names}

        def split(row: Row) -> str:
            cell = "train" if self.split_column is None else row.cells[self.split_column].lower()
            if cell not in split_of:
                raise DataError(
                    f"'{cell}' is not a split: {close_names(cell, split_of)}",
                    where=row.where,
                    next_step=f"write train, val or test into the column '{self.split_column}'",
                )
            return split_of[cell]

        for place, name in enumerate(of_each(split, table.rows, "samples are in no split")):
            splits[name].append(place)
        if not splits["train"] and needs_train:
            raise DataError(
                f"no line is in the training split by the column '{self.split_column}'",
                where=self.file,
                next_step="write train into it, or data.split_column=null to split at random",
            )
        return splits

    def _without_repeats(self, table: Table, files: list[Path]) -> tuple[Table, list[Path]]:
        """Drop lines that repeat a file with equal cells. Raises DataError if cells differ: the file would be in
        two splits, or has two targets."""
        seen: dict[Path, Row] = {}

        def require(named: tuple[Row, Path]) -> None:
            row, file = named
            first = seen.setdefault(file, row)
            differing = [name for name, cell in row.cells.items() if cell != first.cells[name]]
            differing = [name for name in differing if name != self.path_column]
            if differing:
                raise DataError(
                    f"the {self.files.one} '{row.cells[self.path_column]}' is also in {first.unit} {first.place}, with "
                    f"another '{differing[0]}': {shortened(first.cells[differing[0]])}, not "
                    f"{shortened(row.cells[differing[0]])}",
                    where=row.where,
                    next_step=f"write one line for each {self.files.one}; put several labels of one into one cell, "
                    "with task=multi_label data.separator='|'",
                )

        of_each(
            require, zip(table.rows, files, strict=True), f"{self.files.many} are listed in several lines that differ"
        )
        repeated = len(files) - len(seen)
        if repeated:
            one = self.files.one
            lines = f"{repeated:,} lines repeat a {one}" if repeated > 1 else f"one line repeats a {one}"
            self.read_notes.append(f"{lines} of another line; each {one} is used once")
        return table._replace(rows=[*seen.values()]), [*seen]
