"""Find pictures at or below a folder, and count files that are skipped."""

import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from frostline.errors import DataError

# Pillow registers suffixes of these formats, but cannot decode them without libraries that it does not ship.
STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS"}
# Pillow's exceptions for broken files. The last two come from EXIF entries of a wrong type, which Pillow rewrites when
# it rotates a picture.
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error,
              TypeError)  # fmt: skip
LARGE = 25_000_000  # pixels; larger pictures are decoded one at a time, because they take up to 16 bytes a pixel
ALONE = Lock()
USUAL = (".jpg", ".png", ".webp", ".tif", ".bmp")
NAMELESS = "no suffix"
HIDDEN, NOWHERE, BACK = "hidden pictures", "broken links", "linked folders that lead back"
LOOSE = "pictures beside the class folders"
BESIDE = "folders beside train, val and test"


@cache
def suffixes() -> frozenset[str]:
    """Lower-case suffixes of all formats that Pillow opens."""
    known = Image.registered_extensions()  # loads Pillow's plugins
    return frozenset(suffix for suffix, form in known.items() if form in Image.OPEN and form not in STUBS)


def room_for(picture: Image.Image) -> AbstractContextManager[Any]:
    """A context to decode a picture in: a lock if it is LARGE."""
    return ALONE if picture.width * picture.height > LARGE else nullcontext()


class FoundPictures(NamedTuple):
    """files: sorted by name. passed: number of skipped files, by suffix or reason."""

    files: list[Path]
    passed: Counter[str]


def picture_files(folder: Path) -> FoundPictures:
    """Find pictures by their suffixes, following links. Raises DataError if a folder cannot be read or a name is not
    UTF-8."""
    files, passed = [], Counter[str]()
    for file in _walk(folder, [], passed):
        suffix = file.suffix.lower()
        if _undecoded(str(file)):
            raise DataError(
                f"a name is not UTF-8: {file!a}", where=folder, next_step="rename it (convmv renames whole folders)"
            )
        is_picture = suffix in suffixes()
        if file.name.startswith("."):
            passed[HIDDEN] += is_picture
        elif not file.is_file():
            passed[NOWHERE] += 1
        elif is_picture:
            files.append(file)
        else:
            passed[suffix or NAMELESS] += 1
    return FoundPictures(sorted(files), +passed)


def passed_note(passed: Counter[str]) -> list[str]:
    """Return a sentence on skipped files, if there are any."""
    if not passed:
        return []
    suffixed = [(number, name.startswith(".") or name == NAMELESS, name) for name, number in passed.most_common()]
    said = [f"{number:,} {'of ' if is_suffix else ''}{name}" for number, is_suffix, name in suffixed]
    return [f"skipped: {', '.join(said)}"]


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
