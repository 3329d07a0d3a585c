"""Predict samples that are files: one file, all files at or below a folder, or those that a table lists."""

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from frostline.data.files.found import sample_files
from frostline.data.files.kind import FileKind
from frostline.data.files.paths import FilePaths
from frostline.data.files.unlabelled import Unlabelled, files_in_table, files_of
from frostline.data.predicting import STANDARD_INPUT, Asked, Opened, Predicted, Predicting
from frostline.data.tables.formats import SUFFIXES
from frostline.errors import ConfigError, DataError
from frostline.faults import together
from frostline.paths import at_home

LINES = ".txt"


class FilePredicting(Predicting):
    """kind: what files a subclass reads."""

    kind: ClassVar[FileKind]
    table_settings = frozenset({"path_column", "dir", "suffix", "quotes"})

    def __init__(self, run: Opened) -> None:
        self.run = run

    @abstractmethod
    def values(self, files: Sequence[Path], *, root: Path, batch_size: int) -> tuple[dict[int, Tensor], set[int]]:
        """Return predictions by the index of the file, in ascending order, and the indices of unreadable files. root:
        the file or folder that the user named."""

    @abstractmethod
    def problem_of(self, file: Path) -> DataError | None:
        """Return the error with which reading a file fails, if it does."""

    def of_input(self, asked: Asked) -> Predicted:
        if asked.text is not None or asked.input in (None, STANDARD_INPUT):
            raise DataError(
                f"this run takes {self.kind.many}, not text", where="text, input", next_step=self._next_step()
            )
        source = Path(str(asked.input))
        found = self._read(source, asked.data, self.run.settings)
        rows, problems = self.values(found.files, root=source, batch_size=asked.batch_size)
        found = found.without(problems, self.problem_of)
        if not found.files:
            raise self.unreadable(found.problems)
        task, predictions = self.run.task, [*rows.values()]
        names = next(iter(found.given.values()))
        for note in task.notes(predictions):
            print(f"frostline: {note}", file=sys.stderr)
        return Predicted(
            found.given,
            task.columns(predictions, asked.top_k) if asked.top_k else {},
            found.problems,
            (self.files_of(*pair, drawn=asked.pictures) for pair in zip(found.files, predictions, strict=True)),
            task.files_of_all(names, predictions),
            predictions,
        )

    def files_of(self, file: Path, prediction: Tensor, *, drawn: bool) -> dict[str, bytes]:
        """Contents of files to write for one file, by suffix. drawn: whether to draw the prediction."""
        return self.run.task.files(prediction)

    def files_in(self, folder: Path) -> list[Path]:
        return sample_files(folder, self.kind).files

    def unreadable(self, errors: Sequence[DataError], besides: str = "") -> DataError:
        return together(errors, f"{self.kind.many} cannot be read", None, besides)

    def _next_step(self) -> str:
        one, many = self.kind.one, self.kind.many
        return (
            f"input=<a {one}, a folder with {many} at or below it, or a table ({', '.join(SUFFIXES)}) of their paths>"
        )

    def _read(self, source: Path, asked: Mapping[str, Any], settings: Mapping[str, Any]) -> Unlabelled:
        """Find the files to predict, at least one. settings: of the run's data. Raises DataError if there is none."""
        suffix = source.suffix.lower()
        if source.is_file() and suffix == LINES:
            raise DataError(
                f"this run takes {self.kind.many}, but this is text", where=source, next_step=self._next_step()
            )
        if source.is_file() and suffix in SUFFIXES:
            found = self._in_table(source, asked, settings)
        else:
            found = files_of(source, self.kind)
        for note in found.notes:
            print(f"frostline: {note}", file=sys.stderr)
        if found.problems and not found.files:
            raise together(found.problems, f"{self.kind.many} cannot be read")
        if not found.files:
            raise DataError(f"there is no {self.kind.one}", where=source, next_step=self._next_step())
        return found

    def _in_table(self, table: Path, asked: Mapping[str, Any], settings: Mapping[str, Any]) -> Unlabelled:
        folder, own = _setting(asked, "dir"), _setting(asked, "suffix")
        paths = FilePaths(
            self.kind,
            at_home(folder) if folder is not None else table.parent,
            settings.get("suffix") or "" if own is None else own,
            table.parent,
        )
        column = _setting(asked, "path_column") or settings.get("path_column")
        quotes = settings.get("quotes") if asked["quotes"] is None else asked["quotes"]
        return files_in_table(table, column, paths, quotes)


def _setting(asked: Mapping[str, Any], key: str) -> str | None:
    """Read a text setting for a table of paths. Raises ConfigError if it is neither text nor a number."""
    value = asked[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ConfigError(
            f"data.{key} is text, not {value}", where="command line", next_step=f"data.{key}=null uses the run's value"
        )
    return None if value is None else str(value)
