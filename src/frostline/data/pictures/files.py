"""Pictures at or below a folder, and what was passed over on the way."""

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

# Pillow knows these by their suffix, and opens none of them without a library that it does not bring.
STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS"}
# What Pillow raises on broken files; the last two on camera notes of a wrong type, which turning a picture rewrites.
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error,
              TypeError)  # fmt: skip
LARGE = 25_000_000  # pixels: such pictures are decoded one at a time, and take up to 16 bytes a pixel meanwhile
ALONE = Lock()
USUAL = (".jpg", ".png", ".webp", ".tif", ".bmp")
NAMELESS = "no suffix"
HIDDEN, NOWHERE, BACK = "hidden pictures", "links that lead nowhere", "linked folders that lead back"
LOOSE = "pictures beside the class folders"
BESIDE = "folders beside train, val and test"


@cache
def suffixes() -> frozenset[str]:
    """Of all files that Pillow opens, in small letters."""
    known = Image.registered_extensions()  # Pillow's plugins are loaded by that
    return frozenset(suffix for suffix, form in known.items() if form in Image.OPEN and form not in STUBS)


def room_for(picture: Image.Image) -> AbstractContextManager[Any]:
    """Held while it is decoded: alone, if it is large."""
    return ALONE if picture.width * picture.height > LARGE else nullcontext()


class FoundPictures(NamedTuple):
    """files: in the order of their names. passed: how many others, by suffix or by why."""

    files: list[Path]
    passed: Counter[str]


def picture_files(folder: Path) -> FoundPictures:
    """Links are followed. Raises DataError where a folder cannot be read, or a name is no text."""
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
    """A line, if anything was."""
    if not passed:
        return []
    suffixed = [(number, name.startswith(".") or name == NAMELESS, name) for name, number in passed.most_common()]
    said = [f"{number:,} {'of ' if is_suffix else ''}{name}" for number, is_suffix, name in suffixed]
    return [f"passed over: {', '.join(said)}"]


def _walk(folder: Path, above: list[tuple[int, int]], passed: Counter[str]) -> Iterator[Path]:
    """Files below, none of a hidden folder (.ipynb_checkpoints). above: which folders lead here."""
    try:
        stat = folder.stat()
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise DataError(
            f"a folder cannot be read: {error.strerror}",
            where=folder,
            next_step="let it be read (chmod u+rX), or move it elsewhere",
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
    """Bytes of a name that are no text arrive as lone surrogates (PEP 383)."""
    return any("\udc80" <= character <= "\udcff" for character in name)
