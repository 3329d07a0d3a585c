"""Find files without labels, for prediction: one file, all at or below a folder, or those that a table lists."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from frostline.data.files.found import passed_note, sample_files
from frostline.data.files.kind import FileKind
from frostline.data.files.paths import FilePaths
from frostline.data.tables.formats import column_names, read_table
from frostline.data.tables.table import Row, normalised
from frostline.errors import DataError, few, shortened
from frostline.faults import of_each
from frostline.quoting import setting_of


class Unlabelled(NamedTuple):
    """where: location of each file, for messages. given: columns of the input, one cell per file. problems:
    errors of samples that cannot be read. notes: sentences for the user."""

    files: list[Path]
    where: list[str]
    given: dict[str, list[str]]
    problems: list[DataError]
    notes: list[str]

    def without(self, places: Collection[int], problem_of: Callable[[Path], DataError | None]) -> "Unlabelled":
        """Remove files that do not decode, and add their errors to `problems`. problem_of: returns the error with which
        reading a file fails."""
        kept = [place for place in range(len(self.files)) if place not in places]
        return Unlabelled(
            [self.files[place] for place in kept],
            [self.where[place] for place in kept],
            {name: [cells[place] for place in kept] for name, cells in self.given.items()},
            [*self.problems, *(self._problem(place, problem_of) for place in sorted(places))],
            self.notes,
        )

    def _problem(self, place: int, problem_of: Callable[[Path], DataError | None]) -> DataError:
        error = problem_of(self.files[place])
        if error is None:
            what = "it could not be read during the prediction, but decodes now"
            error = DataError(what, where=self.files[place], next_step="predict it again")
        return DataError(error.what, where=self.where[place], next_step=error.next_step)


def files_of(source: Path, kind: FileKind) -> Unlabelled:
    """Find a single file, or all of a kind at or below a folder."""
    if source.is_file():
        files, notes = [source], []
    else:
        files, passed = sample_files(source, kind)
        notes = passed_note(passed)
    names = [str(file) for file in files]
    return Unlabelled(files, names, {"file": names}, [], notes)


def files_in_table(file: Path, column: str | None, paths: FilePaths, quotes: bool | None) -> Unlabelled:
    """Find the files that a table lists, with its further columns. column: of paths; None for the one named as in
    `_usual`. quotes: see `read_fields`. Raises DataError; errors of single lines become `problems`."""
    column = _path_column(column_names(file, quotes), file, paths.kind) if column is None else column
    problems: list[DataError] = []
    wanted = {column: "data.path_column"}
    table = read_table(file, wanted, verbatim=[column], quotes=quotes, others=True, problems=problems)

    def found(row: Row) -> tuple[Row, Path]:
        return row, paths.find(row.cells[column].strip(), row.where)

    rows = of_each(found, table.rows, problems=problems)
    names = dict.fromkeys(name for row, _ in rows for name in row.cells)  # JSON objects may differ in their names
    return Unlabelled(
        [found_file for _, found_file in rows],
        [f"{found_file} ({row.where})" for row, found_file in rows],
        {name: [row.cells.get(name, "") for row, _ in rows] for name in names},
        problems,
        [*table.notes, *paths.notes()],
    )


def _usual(kind: FileKind) -> tuple[str, ...]:
    """Usual names of the column of paths."""
    return ("path", "file", "filename", *kind.columns)


def _path_column(names: list[str], file: Path, kind: FileKind) -> str:
    """Return the only name in `_usual`, ignoring case. Raises DataError unless there is exactly one."""
    paths = _usual(kind)
    usual = [name for name in names if normalised(name).lower() in paths]
    if len(usual) == 1:
        return usual[0]
    if not names:
        raise DataError(
            "the table is empty", where=file, next_step=f"write column names into the first line: {paths[0]}"
        )
    reason = f"{few(usual)} could each hold the paths" if usual else f"no column is named {', '.join(paths)}"
    raise DataError(
        f"{reason}; the columns are {few([shortened(name) for name in names])}",
        where=file,
        next_step=f"{setting_of('data.path_column', next(filter(None, usual or names), paths[0]))}, or another column",
    )
