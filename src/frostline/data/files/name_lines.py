"""Names of classes in a file, one a line."""

from pathlib import Path

from frostline.errors import DataError


def name_lines(file: Path) -> list[str] | None:
    """Stripped lines of a file, without empty ones at its end; None if it does not exist. Raises DataError."""
    if not file.is_file():
        return None
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"the file is not text: {error}", where=file, next_step="save it as UTF-8") from error
    if "" in lines:
        raise DataError(
            f"line {lines.index('') + 1} is empty, but names the value {lines.index('')}",
            where=file,
            next_step="write a name there, or remove the line",
        )
    return lines
