"""A reader of tables with columns of several kinds, a row per sample."""

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from frostline.contracts.targets import Targets, inputs_in
from frostline.data.files.class_folders import SPLITS
from frostline.data.files.paths import FilePaths
from frostline.data.pictures.files import PICTURES
from frostline.data.reader import Found, Reader, name_of
from frostline.data.rows.columns import SETTINGS, Columns, Kinds, columns_of
from frostline.data.rows.kinds import kinds_of, require_filled, slices_note
from frostline.data.rows.modality import RowModality
from frostline.data.rows.sources import RowSamples
from frostline.data.split_columns import SplitBy, SplitColumns
from frostline.data.tables.formats import column_names, read_table
from frostline.data.tables.label_lists import separator_notes
from frostline.data.tables.table import Row, Table, normalised
from frostline.data.tables.text_files import split_files
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, DataError, close_names
from frostline.faults import of_each
from frostline.paths import at_home

NUMBERED = re.compile(r" \(\d+\)$")  # what a repeated column name gets, see `kept_columns`

Given = dict[str, list[str] | None]


class TableRows(Reader):
    """conf/data/table.yaml explains the settings. Raises DataError that names the line of a table."""

    modality = RowModality
    kinds = ()
    reads_columns = True
    named_by = "data.file"
    divides = "data.split_column, or data.val_file and data.test_file"

    def __init__(
        self,
        *,
        file: str,
        val_file: str | None,
        test_file: str | None,
        dir: str | None,
        suffix: str,
        image_columns: list[str] | None,
        text_columns: list[str] | None,
        number_columns: list[str] | None,
        category_columns: list[str] | None,
        id_columns: list[str] | None,
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
        self.files: dict[str, str | None] = {"val": val_file, "test": test_file}
        self.dir = at_home(dir) if dir is not None else self.file.parent
        self.name = name_of(self.file)
        self.suffix = suffix
        lists = (image_columns, text_columns, number_columns, category_columns, id_columns)
        self.given: Given = dict(zip(Kinds._fields, lists, strict=True))
        self.target_columns = target_columns
        self.separator, self.quotes = separator, quotes
        self.split_column = split_column
        self.divided = SplitColumns(
            split_by=split_by,
            time_column=time_column,
            user_column=user_column,
            relevant=relevant,
            group_column=group_column,
            group_columns=group_columns,
            finds_user=True,
        )
        self.ungroups = self.divided.ungroups
        if split_column is not None and any(self.files.values()):
            raise ConfigError(
                "data.split_column divides the rows of data.file, but data.val_file or data.test_file is set, too",
                where="data.split_column",
                next_step="data.split_column=null; or data.val_file=null data.test_file=null",
            )

    def read(self, target: TargetType, known: Targets | None) -> Found:
        further = self._further(known)
        given = self.given if known is None else _lists(Kinds.of(inputs_in(known.about)["kinds"]))
        self._require_apart(target, further, given)
        tables = self._tables(target, further, given)
        whole = Table(self.file, [row for table in tables.values() for row in table.rows])
        kinds, guessed, notes = self._kinds(tables["train"], further, given)
        splits = self._splits(tables, needs_train=known is None)
        notes += [note for table in tables.values() for note in table.notes]
        paths = FilePaths(PICTURES, self.dir, self.suffix, self.file.parent)
        if known is None:
            require_filled(tables["train"].rows, kinds, self.file)
            notes += slices_note(self.divided.group_columns, kinds)
        trained = known is not None
        found = {name: columns_of(table.rows, kinds, paths, known=trained)[1] for name, table in tables.items()}
        training = splits["train"]
        names, targets = target.read(
            whole, self.target_columns, self.separator, training, None if known is None else known.names
        )
        notes += [*paths.notes(), *target.reading_notes(whole, self.target_columns, names)]
        notes += separator_notes(whole, self.target_columns[0], self.separator)
        made = self._samples(found, targets, splits, kinds, guessed)
        train = made.get("train") or next(iter(made.values()))
        divided = self.divided.of_user(self._user_of(kinds))
        rows = {split: [whole.rows[place] for place in places] for split, places in splits.items() if places}
        own = divided.found(rows, scored=known is not None)
        return Found(names, train, made.get("val"), made.get("test"), notes, **own)

    def _further(self, known: Targets | None) -> dict[str, str]:
        """The setting that names each column that is neither input nor target."""
        own = {} if self.split_column is None else {self.split_column: "data.split_column"}
        return own | self.divided.dividing(scored=known is not None)

    def _user_of(self, kinds: Kinds) -> str | None:
        """The column of users; by default the first of several id columns."""
        if self.divided.user_column is not None or not kinds.ids:
            return self.divided.user_column
        return kinds.ids[0] if len(kinds.ids) > 1 or self.divided.split_by == "user" else None

    def _require_apart(self, target: TargetType, further: dict[str, str], given: Given) -> None:
        """Raises ConfigError if a column has two uses."""
        used: dict[str, str] = {}
        lists = {SETTINGS[field]: names or [] for field, names in given.items()}
        for setting, names in {"data.target_columns": self.target_columns, **lists}.items():
            for name in names:
                if name in used:
                    target_too = "data.target_columns" in (setting, used[name]) and setting != used[name]
                    why = ": the network would see what it has to predict" if target_too else ""
                    raise ConfigError(
                        f"the column '{name}' is in {used[name]} and in {setting}{why}"
                        if setting != used[name]
                        else f"the column '{name}' is named twice in {setting}",
                        where=setting,
                        next_step=f"leave it out of one of them: {setting}=[...]",
                    )
                used[name] = setting
        target.require_columns(self.target_columns, self.separator, {}, further)

    def _tables(self, target: TargetType, further: dict[str, str], given: Given) -> dict[str, Table]:
        own = {name: SETTINGS[field] for field, names in given.items() for name in names or ()}
        user = {} if self.divided.user_column is None else {self.divided.user_column: "data.user_column"}
        columns = user | own | further | dict.fromkeys(self.target_columns, "data.target_columns")
        guesses = any(names is None for names in given.values())
        lists = self.target_columns if target.cells_hold_lists else []
        texts = given["texts"] or []
        return {
            split: read_table(file, columns, verbatim=texts, lists=lists, quotes=self.quotes, others=guesses)
            for split, file in self._files().items()
        }

    def _files(self) -> dict[str, Path]:
        """Tables of splits may lie beside the first one."""
        beside = {
            split: str(self.file.parent / at_home(file)) if not at_home(file).exists() else file
            for split, file in self.files.items()
            if file is not None
        }
        if not self.file.is_file():
            raise DataError(
                "there is no such table", where=self.file, next_step="data.file=<a .csv, .tsv, .jsonl or .parquet>"
            )
        return split_files(None, None, train=str(self.file), **beside)

    def _kinds(self, table: Table, further: dict[str, str], given: Given) -> tuple[Kinds, frozenset[str], list[str]]:
        if all(names is not None for names in given.values()):
            return Kinds(*(tuple(names or ()) for names in given.values())), frozenset(), []
        taken = {normalised(name) for name in (*further, *self.target_columns)}
        names = dict.fromkeys(name for row in table.rows for name in row.cells)
        plain = [normalised(name) for name in column_names(self.file, self.quotes)]
        twice = {name for name in plain if plain.count(name) > 1}
        single = [name for name in names if normalised(NUMBERED.sub("", name)) not in twice]
        kinds, guessed, notes = kinds_of(table.rows, [name for name in single if normalised(name) not in taken], given)
        notes += [f"left out: {name} (the table has several columns of this name)" for name in sorted(twice - taken)]
        return kinds, guessed, notes

    def _splits(self, tables: dict[str, Table], *, needs_train: bool) -> dict[str, list[int]]:
        """Indices of the rows of each split, in all tables together."""
        splits: dict[str, list[int]] = {split: [] for split in SPLITS}
        start = 0
        for name, table in tables.items():
            places = range(start, start + len(table.rows))
            start = places.stop
            sides = self._sides(table.rows) if self.split_column is not None else [name] * len(table.rows)
            for place, side in zip(places, sides, strict=True):
                splits[side].append(place)
        if not splits["train"] and needs_train:
            raise DataError(
                f"no row is in the training split by the column '{self.split_column}'",
                where=self.file,
                next_step="write train into it, or data.split_column=null to split at random",
            )
        return splits

    def _sides(self, rows: Sequence[Row]) -> list[str]:
        split_of = {name: split for split, names in SPLITS.items() for name in names}
        column = str(self.split_column)

        def side(row: Row) -> str:
            cell = row.cells[column].lower()
            if cell not in split_of:
                raise DataError(
                    f"'{cell}' is not a split: {close_names(cell, split_of)}",
                    where=row.where,
                    next_step=f"write train, val or test into the column '{column}'",
                )
            return split_of[cell]

        return of_each(side, rows, "rows are in no split")

    def _samples(
        self,
        found: dict[str, Columns],
        targets: Tensor,
        splits: dict[str, list[int]],
        kinds: Kinds,
        guessed: frozenset[str],
    ) -> dict[str, RowSamples]:
        own, start = {}, 0
        for name, columns in found.items():
            size = len(columns)
            if self.split_column is None:
                own[name] = (columns, targets[start : start + size])
            else:
                own = {side: (columns.taken(places), targets[places]) for side, places in splits.items() if places}
            start += size
        return {
            name: RowSamples(columns, labels, kinds, root=self.dir, guessed=guessed)
            for name, (columns, labels) in own.items()
        }


def _lists(kinds: Kinds) -> Given:
    return {field: [*names] for field, names in kinds._asdict().items()}
