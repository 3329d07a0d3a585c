"""Files of text: where the parts of a data set lie, and their characters, UTF-8 whatever wrote them."""

import errno
import io
from pathlib import Path

from frostline.errors import ConfigError, DataError
from frostline.paths import at_home


def part_files(dir: str | None, source: str | None, **files: str | None) -> dict[str, Path]:
    """The file of each part that has one, keyed as given. dir: to which they are relative, and where those with a whole
    path are that are not there any more; None: the folder in which the program runs. source: where they come from, for
    the user who lacks them.

    Raises DataError where one is not there, ConfigError where one file is two parts.
    """
    folder = at_home(dir) if dir is not None else Path()
    placed = {part: folder / at_home(file) for part, file in files.items() if file is not None}
    if dir is not None:  # as the next step below says
        placed = {part: file if file.exists() else _inside(folder, file) for part, file in placed.items()}
    for part, file in placed.items():
        if not file.is_file():
            names = ", ".join(place.name for place in placed.values())
            raise DataError(
                f"there is no such file: {file}",
                where=f"data.{part}_file",
                next_step=f"data.{part}_file=<a file that is there>, or data.dir=<the folder of {names}>"
                + (f"; they are: {source}" if source else ""),
            )
    for part, file in placed.items():
        same = [other for other, place in placed.items() if place.samefile(file) and other != part]
        if same:
            raise ConfigError(
                f"the file {file} is used for two splits: training samples would be tested on",
                where=f"data.{part}_file, data.{same[0]}_file",
                next_step=f"data.{same[0]}_file=null splits that part off the training split",
            )
    return placed


def _inside(folder: Path, file: Path) -> Path:
    """The file of that name in the folder, where it is not to be found below it already."""
    moved = folder / file.name
    return moved if folder not in file.parents and moved.exists() else file


def read_utf8(file: Path) -> str:
    """Raises DataError that names the line."""
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # a pipe would be waited for
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
    """The mark that some editors put first is no part of the text. source: for messages. Raises DataError that names
    the line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"not UTF-8: {error.reason}", source, content, error.start) from error
    if "\0" in text:
        raise _refused("no text: a NUL character stands in it (UTF-16?)", source, content, content.index(b"\0"))
    return text


def lines_of(text: str) -> list[str]:
    """Without their ends, which are \\n, \\r\\n or \\r: a form feed or U+2028 is part of a text, and ends a line for
    `str.splitlines` only."""
    return [line.removesuffix("\n") for line in io.StringIO(text, newline=None)]


def _refused(what: str, source: object, content: bytes, place: int) -> DataError:
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content
    line = content[:place].count(b"\n") + 1
    return DataError(
        f"the file is {what}",
        where=f"{source}, line {line}",
        next_step=f"save it as UTF-8, say: iconv -f {'utf-16' if utf16 else 'latin1'} -t utf-8 old > new",
    )
