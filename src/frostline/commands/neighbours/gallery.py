"""The files of an index: written whole or not at all, and checked when they are read. Shapes: N samples, D numbers of
an embedding.

index.json      what embedded the samples, and how many there are
vectors.npy     (N, D) float32 of length 1
samples.csv     name and identity of each sample
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frostline import __version__
from frostline.errors import DataError, RunError, first_line

SCHEMA = 1
ABOUT, VECTORS, SAMPLES = "index.json", "vectors.npy", "samples.csv"
COLUMNS = ["name", "identity"]


class Gallery(NamedTuple):
    """vectors: (N, D), mapped from the file. identities: "" where one is not known. key: see `Embedder`."""

    vectors: np.ndarray
    names: list[str]
    identities: list[str]
    key: str
    model: str


def require_new(folder: Path) -> None:
    """Raise DataError if something lies there, or nothing can be written beside it."""
    if os.path.lexists(folder):
        raise DataError("this path exists", where=folder, next_step="output=<a new folder>")
    if not folder.parent.is_dir():
        raise DataError("there is no such folder", where=folder.parent, next_step="create it, or output=<folder>")
    if not os.access(folder.parent, os.W_OK):
        raise DataError("cannot write to this folder", where=folder.parent, next_step="output=<a writable folder>")


def write(folder: Path, vectors: np.ndarray, names: Sequence[str], identities: Sequence[str], **about: Any) -> None:
    """Write a folder beside the final one, then rename it. A kill leaves a draft, which the next call removes. about:
    entries of index.json. Raises DataError, for example on a full disk."""
    draft = folder.with_name(f".{folder.name}.draft")
    content = {"schema": SCHEMA, "version": __version__, "samples": len(names), "dimension": vectors.shape[1], **about}
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(zip(names, identities, strict=True))
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, np.lib.format.header_data_from_array_1_0(vectors))
    contents: dict[str, list[Any]] = {
        VECTORS: [array.getvalue(), np.ascontiguousarray(vectors).data],
        SAMPLES: [lines.getvalue().encode()],
        ABOUT: [(json.dumps(content, indent=2) + "\n").encode()],
    }
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for name, pieces in contents.items():
            with (draft / name).open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        draft.rename(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise DataError(
            f"the index cannot be written: {error.strerror or error}",
            where=folder,
            next_step="output=<a new folder> where there is room",
        ) from error


def read(folder: Path, again: str) -> Gallery:
    """again: the command that writes an index. Raises RunError if there is none, or if it is damaged."""
    if not (folder / ABOUT).is_file():
        what = "this folder is no index" if folder.is_dir() else "there is no such index"
        raise RunError(what, where=folder, next_step=again)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["schema"] != SCHEMA:
            raise ValueError(f"it has schema {about['schema']}, but this version reads schema {SCHEMA}")
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        with (folder / SAMPLES).open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if vectors.shape != (about["samples"], about["dimension"]) or vectors.dtype != np.float32:
            raise ValueError(f"{VECTORS} holds {vectors.shape} of {vectors.dtype}")
        if header != COLUMNS or len(rows) != about["samples"] or any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError(f"{SAMPLES} does not hold {about['samples']} samples")
        names, identities = [row[0] for row in rows], [row[1] for row in rows]
        return Gallery(vectors, names, identities, str(about["weights"]), str(about["model"]))
    except (OSError, ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        raise RunError(
            f"the index is damaged: {first_line(error)}", where=folder, next_step=f"remove the folder; or {again}"
        ) from error
