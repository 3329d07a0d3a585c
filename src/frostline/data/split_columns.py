"""Columns of a table that say which rows belong together, how they are divided, and which are ranked together."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from frostline.data.by_time import Times, times_of
from frostline.data.grouping import groups_of
from frostline.data.tables.table import Row, normalised
from frostline.data.tables.uses import SLICES, require_one_use
from frostline.errors import ConfigError

EMPTY = "(empty)"  # value of a sample whose cell is empty
SplitBy = Literal["random", "time", "user"]


class Users(NamedTuple):
    """Whose each sample is. column: of the table. of: by split, the user of each sample, "" if the cell is empty.
    relevant: the setting `data.relevant`."""

    column: str
    of: Mapping[str, Sequence[str]]
    relevant: float | str | None


class SplitColumns:
    """conf/data/text_csv.yaml explains the settings. Raises ConfigError if they do not fit together."""

    def __init__(
        self,
        *,
        split_by: SplitBy,
        time_column: str | None,
        user_column: str | None,
        relevant: float | str | None,
        group_column: str | None,
        group_columns: Sequence[str] | None,
        finds_user: bool = False,
    ) -> None:
        """finds_user: whether the reader looks for a column of users if none is named, and calls `of_user`."""
        for by, key, column in (("time", "time_column", time_column), ("user", "user_column", user_column)):
            if split_by == by and column is None and not (by == "user" and finds_user):
                raise ConfigError(
                    f"data.split_by={by} needs a column that says the {by} of each sample",
                    where=f"data.{key}",
                    next_step=f"data.{key}=<column>",
                )
        if time_column is not None and split_by != "time":
            raise ConfigError(
                f"data.time_column={time_column} does nothing with data.split_by={split_by}",
                where="data.time_column",
                next_step="data.split_by=time, or data.time_column=null",
            )
        if relevant is not None and user_column is None and not finds_user:
            raise ConfigError(
                "data.relevant does nothing without data.user_column, by which samples are ranked",
                where="data.relevant",
                next_step="data.user_column=<column>, or data.relevant=null",
            )
        if group_column is not None and split_by != "random" and (split_by, group_column) != ("user", user_column):
            raise ConfigError(
                f"splits by {split_by} divide the groups of '{group_column}'",
                where="data.split_by, data.group_column",
                next_step="data.group_column=null; or data.split_by=random",
            )
        require_one_use([(name, SLICES) for name in group_columns or ()])
        self.time_column = time_column
        self.user_column = user_column
        self.relevant = relevant
        self.split_by = split_by
        self.own_groups = group_column
        self.group_columns = [*(group_columns or [])]
        self.group_column = user_column if split_by == "user" else group_column

    def of_user(self, column: str | None) -> "SplitColumns":
        """The same with the column of users that was found, if any. Raises ConfigError as the constructor does."""
        return SplitColumns(
            split_by=self.split_by,
            time_column=self.time_column,
            user_column=column,
            relevant=self.relevant,
            group_column=self.own_groups,
            group_columns=self.group_columns,
        )

    @property
    def ungroups(self) -> str:
        """The setting that ignores groups."""
        return "data.split_by=random" if self.split_by == "user" else "data.group_column=null"

    def dividing(self, *, scored: bool) -> dict[str, str]:
        """The setting that names each column that only divides samples. scored: whether a trained run is scored, whose
        samples are not divided."""
        own: dict[str | None, str] = dict.fromkeys(self.group_columns, SLICES)
        own |= {self.time_column: "data.time_column", self.own_groups: "data.group_column"}
        return {} if scored else {column: setting for column, setting in own.items() if column is not None}

    def settings(self, *, scored: bool) -> dict[str, str]:
        """The setting that names each column to read. scored: see `dividing`."""
        user = {} if self.user_column is None else {self.user_column: "data.user_column"}
        return self.dividing(scored=scored) | user

    def found(self, rows: Mapping[str, Sequence[Row]], *, scored: bool) -> dict[str, Any]:
        """`groups`, `slices`, `times`, `users` of `Found`. rows: by split. Raises DataError that names faulty rows."""
        users = None
        if self.user_column is not None:
            cells = {split: [row.cells[self.user_column].strip() for row in some] for split, some in rows.items()}
            users = Users(self.user_column, {split: own for split, own in cells.items() if own}, self.relevant)
        if scored:
            return {"users": users}
        one = "user" if self.split_by == "user" else "group"
        groups = _names(rows, self.group_column, one, f"fill it, or {self.ungroups}")
        slices = {split: {name: _cells(some, name) for name in self.group_columns} for split, some in rows.items()}
        times: Times | None = None if self.time_column is None else times_of(rows, self.time_column)
        return {"groups": groups, "slices": slices, "times": times, "users": users}


def _cells(rows: Sequence[Row], column: str) -> list[str]:
    return [normalised(row.cells[column].strip()) or EMPTY for row in rows]


def _names(rows: Mapping[str, Sequence[Row]], column: str | None, one: str, next_step: str) -> dict[str, list[str]]:
    if column is None:
        return {}
    return {split: groups_of(some, column, one, next_step) for split, some in rows.items() if some}
