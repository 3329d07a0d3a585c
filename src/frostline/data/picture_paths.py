"""Where a picture lies that a table names: paths as other programs and other systems write them."""

import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PureWindowsPath

from frostline.data.picture_files import suffixes
from frostline.errors import DataError
from frostline.quoting import setting_of


class PicturePaths:
    """folder: to which paths are relative. suffix: is missing at the end of each."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix
        self.from_windows = 0  # paths with \\ between folders

    def find(self, path: str, where: str) -> Path:
        """Without detours, so that the same picture is the same path. Raises DataError if it is not there; where: the
        line that names it."""
        inside = self._inside(path + self.suffix, where)
        found = self._there(path, where)
        if found is None and "\\" in path:
            plain = PureWindowsPath(path).as_posix()
            inside, found = self._inside(plain + self.suffix, where), self._there(plain, where)
            self.from_windows += found is not None
        if found is None:
            raise DataError(
                f"there is no such picture: {self.folder / inside}", where=where, next_step=self._next_step(inside)
            )
        return found

    def _there(self, path: str, where: str) -> Path | None:
        """With the suffix, or as it is: some of the paths may have theirs."""
        endings = dict.fromkeys([self.suffix, f".{self.suffix}", ""]) if self.suffix else [""]
        files = (file for ending in endings for file in self._spelled(self._inside(path + ending, where)))
        return next((file for file in files if file.is_file()), None)

    def notes(self) -> list[str]:
        return [f"{self.from_windows:,} paths with \\ were read as if with /"] if self.from_windows else []

    def _inside(self, path: str, where: str) -> Path:
        """Relative to the folder. Raises DataError if it leads out of it."""
        inside = Path(path)
        if inside.is_absolute() and inside.is_relative_to(self.folder.absolute()):
            inside = inside.relative_to(self.folder.absolute())
        parts: list[str] = []
        for part in inside.parts:
            if part != ".." or not parts or parts[-1] == "..":
                parts.append(part)
            else:
                parts.pop()
        if not path or not parts or parts[0] == ".." or inside.is_absolute():
            raise DataError(
                f"the path '{path}' leads to no picture in {self.folder}",
                where=where,
                next_step="paths relative to data.dir=<the folder of all pictures>",
            )
        return Path(*parts)

    def _spelled(self, inside: Path) -> Iterator[Path]:
        """As it stands, and in the two ways in which Unicode writes an accent."""
        yield self.folder / inside
        if not str(inside).isascii():
            yield from (self.folder / unicodedata.normalize(form, str(inside)) for form in ("NFC", "NFD"))

    def _next_step(self, inside: Path) -> str:
        """What would find it: a suffix, or a folder within this one."""
        beside = (self.folder / inside).parent
        if not self.suffix and beside.is_dir():
            endings = [suffix for suffix in sorted(suffixes()) if (beside / f"{inside.name}{suffix}").is_file()]
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
