"""What predictions are, of pictures and of texts."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.errors import DataError
from frostline.paths import write_atomically

Columns = dict[str, list[str]]
STANDARD_INPUT = "-"


class Predicted(NamedTuple):
    """given: columns of the input. told: columns that the run adds, of the same length. problems: why other samples
    have no prediction. files: of each sample, what does not fit into a table, by the suffix of its file.
    """

    given: Columns
    told: Columns
    problems: list[DataError]
    files: Sequence[dict[str, bytes]] = ()


def folder_of(output: Path) -> Path:
    """Where the files of predictions lie, beside their table."""
    return output.with_suffix("") if output.suffix else output.with_name(f"{output.name}_files")


def require_free(output: Path) -> None:
    """Raises DataError if the place of the folder for files is taken, unless an earlier prediction made the folder."""
    folder = folder_of(output)
    if folder.exists() and not (folder.is_dir() and output.exists()):
        raise DataError(
            "the files of predictions would be written here, and there is something already",
            where=folder,
            next_step="output=<another name>.csv",
        )


def write_files(found: Predicted, output: Path | None) -> Columns:
    """Write the files of predictions into the folder beside `output`, and give a column of their paths. A file has the
    name of its input; a number follows if an earlier one has it. output: None writes nothing, and says so."""
    if not any(found.files):
        return {}
    if output is None:
        print("frostline: output=<new file>.csv writes a file for each prediction, too", file=sys.stderr)
        return {}
    folder, written, taken = folder_of(output), [], set[str]()
    folder.mkdir(exist_ok=True)
    for name, files in zip(next(iter(found.given.values())), found.files, strict=True):
        for suffix, content in files.items():
            stem, number = Path(name).stem, 2
            while stem in taken:
                stem, number = f"{Path(name).stem}-{number}", number + 1
            taken.add(stem)
            write_atomically(folder / f"{stem}{suffix}", content)
            written.append(f"{folder.name}/{stem}{suffix}")
    return {"prediction": written}
