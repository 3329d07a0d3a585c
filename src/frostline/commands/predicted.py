"""Write files of predictions, in a folder beside their table."""

import sys
from itertools import chain
from pathlib import Path

from frostline.data.predicting import Columns, Predicted
from frostline.errors import DataError
from frostline.paths import write_atomically

LONGEST = 180  # bytes of a name without its suffix
DRAWN = "drawn"  # header, and begins the suffix of pictures with their predictions


def folder_of(output: Path) -> Path:
    """The folder for files of predictions, beside their table."""
    return output.with_suffix("") if output.suffix else output.with_name(f"{output.name}_files")


def require_free(output: Path) -> None:
    """Raise DataError if the folder for files exists, unless an earlier prediction created it with its table."""
    folder = folder_of(output)
    if folder.exists() and not (folder.is_dir() and output.exists()):
        raise DataError(
            "the files of predictions would be written here, but this path exists",
            where=folder,
            next_step="output=<another name>.csv",
        )


def write_files(found: Predicted, output: Path | None) -> Columns:
    """Write the files of predictions into the folder beside `output`, and return columns of the paths of those that
    belong to one sample: `prediction`, `drawn`. A file has its input's stem, with a number appended if that is taken.
    output: None writes nothing, and prints a note."""
    of_each = iter(found.files)
    first = next(of_each, {})
    if not first and not found.of_all:
        return {}
    if output is None:
        what = "a file for each prediction" if first else f"{', '.join(found.of_all)} for all predictions"
        print(f"frostline: output=<new file>.csv also writes {what}", file=sys.stderr)
        return {}
    folder, taken = folder_of(output), set[str]()
    columns: Columns = {}
    folder.mkdir(exist_ok=True)
    for name, made in found.of_all.items():
        write_atomically(folder / name, made())
    for name, files in zip(next(iter(found.given.values())), chain([first], of_each), strict=True):
        own = _shortened(Path(name).stem)
        stem, number = own, 2
        while stem in taken:
            stem, number = f"{own}-{number}", number + 1
        taken.add(stem)
        for suffix, content in files.items():
            write_atomically(folder / f"{stem}{suffix}", content)
            header = DRAWN if suffix.startswith(f".{DRAWN}") else "prediction"
            columns.setdefault(header, []).append(f"{folder.name}/{stem}{suffix}")
    return columns


def _shortened(stem: str) -> str:
    """Cut a name so that it has room for a number, suffixes, and the suffix of a draft in a name of 255 bytes."""
    return stem.encode()[:LONGEST].decode(errors="ignore")
