"""Text files: find the file of each split, and decode its UTF-8."""

import errno
import io
from pathlib import Path

from frostline.errors import ConfigError, DataError
from frostline.paths import at_home


def split_files(dir: str | None, source: str | None, **files: str | None) -> dict[str, Path]:
    """Return the file of each split that has one, keyed as given. dir: folder to which files are relative, and in which
    a missing absolute path is searched by its name; None: the current folder. source: origin of the files, for the
    error if one is missing.

    Raises DataError if a file is missing, ConfigError if two splits have the same file.
    """
    folder = at_home(dir) if dir is not None else Path()
    placed = {split: folder / at_home(file) for split, file in files.items() if file is not None}
    if dir is not None:  # the next step below suggests to set it
        placed = {split: file if file.exists() else _inside(folder, file) for split, file in placed.items()}
    for split, file in placed.items():
        if not file.is_file():
            names = ", ".join(place.name for place in placed.values())
            raise DataError(
                f"there is no such file: {file}",
                where=f"data.{split}_file",
                next_step=f"data.{split}_file=<an existing file>, or data.dir=<the folder of {names}>"
                + (f"; source of the files: {source}" if source else ""),
            )
    for split, file in placed.items():
        same = [other for other, place in placed.items() if place.samefile(file) and other != split]
        if same:
            raise ConfigError(
                f"the file {file} is used for two splits, which would share their samples",
                where=f"data.{split}_file, data.{same[0]}_file",
                next_step=f"data.{same[0]}_file=null takes that split from the training split",
            )
    return placed


def _inside(folder: Path, file: Path) -> Path:
    """The file of the same name in the folder, if it exists and `file` is not below the folder; else `file`."""
    moved = folder / file.name
    return moved if folder not in file.parents and moved.exists() else file


def read_utf8(file: Path) -> str:
    """Read a text file. Raises DataError if it cannot be read, or that names the line which is not UTF-8."""
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # reading a pipe could block forever
            raise OSError(errno.EINVAL, "it is a pipe or a device")
        content = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}",
            where=file,
            next_step="correct the path, or its permissions",
        ) from error
    return text_of(content, file)


def text_of(content: bytes, source: object) -> str:
    """Decode UTF-8 without its byte order mark. source: for messages. Raises DataError that names the line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"not UTF-8: {error.reason}", source, content, error.start) from error
    if "\0" in text:
        raise _refused("not text: it contains a NUL character (UTF-16?)", source, content, content.index(b"\0"))
    return text


def lines_of(text: str) -> list[str]:
    """Split into lines at \\n, \\r\\n and \\r only: `str.splitlines` would also split at form feeds and U+2028."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def _refused(what: str, source: object, content: bytes, place: int) -> DataError:
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content
    line = content[:place].count(b"\n") + 1
    return DataError(
        f"the file is {what}",
        where=f"{source}, line {line}",
        next_step=f"save it as UTF-8: iconv -f {'utf-16' if utf16 else 'latin1'} -t utf-8 old > new",
    )
