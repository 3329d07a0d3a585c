"""Find the samples at or below a folder, and count files that are skipped."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from frostline.data.files.kind import FileKind
from frostline.errors import DataError

NAMELESS = "no suffix"
NOWHERE, BACK = "broken links", "linked folders that lead back"
BESIDE = "folders beside train, val and test"


class FoundFiles(NamedTuple):
    """files: sorted by name. passed: number of skipped files, by suffix or reason."""

    files: list[Path]
    passed: Counter[str]


def sample_files(folder: Path, kind: FileKind) -> FoundFiles:
    """Find files of a kind by their suffixes, following links. Raises DataError if a folder cannot be read or a name is
    not UTF-8."""
    files, passed = [], Counter[str]()
    suffixes = kind.suffixes()
    for file in _walk(folder, [], passed):
        suffix = file.suffix.lower()
        if _undecoded(str(file)):
            raise DataError(
                f"a name is not UTF-8: {file!a}", where=folder, next_step="rename it (convmv renames whole folders)"
            )
        if file.name.startswith("."):
            passed[f"hidden {kind.many}"] += suffix in suffixes
        elif not file.is_file():
            passed[NOWHERE] += 1
        elif suffix in suffixes:
            files.append(file)
        else:
            passed[suffix or NAMELESS] += 1
    return FoundFiles(sorted(files), +passed)


def passed_note(passed: Counter[str]) -> list[str]:
    """Return a sentence on skipped files, if there are any."""
    if not passed:
        return []
    suffixed = [(number, name.startswith(".") or name == NAMELESS, name) for name, number in passed.most_common()]
    counts = [f"{number:,} {'of ' if is_suffix else ''}{name}" for number, is_suffix, name in suffixed]
    return [f"skipped: {', '.join(counts)}"]


def _walk(folder: Path, above: list[tuple[int, int]], passed: Counter[str]) -> Iterator[Path]:
    """Yield all files below a folder, except in hidden folders (.ipynb_checkpoints). above: device and inode of the
    folders that lead here, to stop at links that lead back."""
    try:
        stat = folder.stat()
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise DataError(
            f"a folder cannot be read: {error.strerror}",
            where=folder,
            next_step="make it readable (chmod u+rX), or move it elsewhere",
        ) from error
    itself = (stat.st_dev, stat.st_ino)
    if itself in above:
        passed[BACK] += 1
        return
    for name in names:
        path = folder / name
        if not path.is_dir():
            yield path
        elif not name.startswith("."):
            yield from _walk(path, [*above, itself], passed)


def _undecoded(name: str) -> bool:
    """Whether a name has bytes that are not UTF-8, which Python decodes to lone surrogates (PEP 383)."""
    return any("\udc80" <= character <= "\udcff" for character in name)
