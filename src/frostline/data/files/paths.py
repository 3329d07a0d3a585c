"""Find the files that a table names, by paths that other programs and systems wrote."""

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PureWindowsPath

from frostline.data.files.kind import FileKind
from frostline.errors import DataError
from frostline.quoting import setting_of

DRIVE = re.compile("[A-Za-z]:/")


class FilePaths:
    """kind: what the files are. folder: to which paths are relative; one that leads outside is refused, unless it is
    absolute and the folder has no file at its end. suffix: appended to each path. table: folder of the table, to which
    paths with .. may be relative.
    """

    def __init__(self, kind: FileKind, folder: Path, suffix: str, table: Path | None = None) -> None:
        self.kind = kind
        self.folder = folder
        self.suffix = suffix
        self.table = folder if table is None else table
        self.outside = 0  # number of files at absolute paths outside of the folder
        self.from_windows = 0  # number of paths with \\ between folders
        self.begin: tuple[str, ...] = ()  # start of absolute paths that were written before the files moved
        self.without_begin = 0  # number of paths that were found without `begin`

    def find(self, path: str, where: str) -> Path:
        """Return the path of a file, without `..`, so that equal files have equal paths. where: the line that
        names it. Raises DataError if it does not exist."""
        if not path:
            raise DataError(
                f"no {self.kind.one} is named", where=where, next_step="write its path, or drop that sample"
            )
        for plain in dict.fromkeys([path, PureWindowsPath(path).as_posix()]):
            found = self._found(plain)
            if found is not None:
                self.from_windows += plain != path
                return found
        inside = self._inside(plain + self.suffix)
        if inside is None:
            raise DataError(
                f"the path '{path}' is not that of a {self.kind.one} in {self.folder}",
                where=where,
                next_step=self._outside(plain),
            )
        raise DataError(
            f"there is no such {self.kind.one}: {self.folder / inside}", where=where, next_step=self._next_step(inside)
        )

    def _found(self, path: str) -> Path | None:
        """A file in the folder, else at an absolute path: a copy in the folder comes before the original."""
        ways = (self._there, self._moved, self._elsewhere)
        return next((found for way in ways if (found := way(path)) is not None), None)

    def _elsewhere(self, path: str) -> Path | None:
        if not Path(path).is_absolute():
            return None
        files = (_plain(Path(path + ending)) for ending in self._endings())
        found = next((file for file in files if file.is_file()), None)
        self.outside += found is not None
        return found

    def _endings(self) -> list[str]:
        """The path with the suffix or without it: some paths may already end with it."""
        return list(dict.fromkeys([self.suffix, f".{self.suffix}", ""])) if self.suffix else [""]

    def _there(self, path: str) -> Path | None:
        inside = (self._inside(path + ending) for ending in self._endings())
        files = (file for it in inside if it is not None for file in self._spelled(it))
        return next((file for file in files if file.is_file()), None)

    def notes(self) -> list[str]:
        notes = [f"{self.from_windows:,} paths with \\ were read with / instead"] if self.from_windows else []
        if self.without_begin:
            begin = Path(*self.begin).as_posix()
            notes.append(
                f"{self.without_begin:,} paths were read without {begin} at their start: they are in {self.folder}"
            )
        if self.outside:
            notes.append(f"{self.outside:,} {self.kind.many} are at absolute paths outside of {self.folder}")
        return notes

    def _inside(self, path: str) -> Path | None:
        """The path relative to the folder; None if it leads outside."""
        folder = _plain(self.folder)
        tried = [folder, self.table] if ".." in Path(path).parts else [folder]
        whole = [_plain(base / path) for base in tried if path]
        return next(
            (file.relative_to(folder) for file in whole if file != folder and file.is_relative_to(folder)), None
        )

    def _moved(self, path: str) -> Path | None:
        """Find an absolute path of another folder or machine by its end. The start that is left out is the same for all
        paths."""
        parts = Path(path).parts
        if not (Path(path).is_absolute() or DRIVE.match(path)) or ".." in parts:
            return None
        for count in [len(self.begin)] if self.begin else range(1, len(parts)):
            found = self._there(str(Path(*parts[count:]))) if parts[:count] == (self.begin or parts[:count]) else None
            if found is not None:
                self.begin = parts[:count]
                self.without_begin += 1
                return found
        return None

    def _outside(self, path: str) -> str:
        """Next step for a path that leads outside of the folder."""
        there = _plain(self.table / (path + self.suffix))
        if not there.is_file():
            return f"data.dir=<the folder of all {self.kind.many}>, with paths relative to it"
        return setting_of("data.dir", os.path.commonpath([there.parent, _plain(self.folder)]))

    def _spelled(self, inside: Path) -> Iterator[Path]:
        """Yield the path as written, then in Unicode's composed and decomposed form."""
        yield self.folder / inside
        if not str(inside).isascii():
            yield from (self.folder / unicodedata.normalize(form, str(inside)) for form in ("NFC", "NFD"))

    def _next_step(self, inside: Path) -> str:
        """Next step for a missing file: a suffix or a subfolder with which it exists."""
        beside = (self.folder / inside).parent
        if not self.suffix and beside.is_dir():
            endings = [
                suffix for suffix in sorted(self.kind.suffixes()) if (beside / f"{inside.name}{suffix}").is_file()
            ]
            if endings:
                return setting_of("data.suffix", endings[0])
        within = next((folder for folder in self._folders if (folder / inside).is_file()), None)
        if within is not None:
            return setting_of("data.dir", within)
        return "correct the path, or data.dir=<the folder to which paths are relative>"

    @cached_property
    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(folder for folder in self.folder.iterdir() if folder.is_dir())


def _plain(path: Path) -> Path:
    """Make a path absolute and remove `..`, without following links."""
    return Path(os.path.normpath(path.absolute()))
