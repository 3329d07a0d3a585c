"""A run's stored predictions: one Parquet file per split, described by its metadata. Shapes: R rows, one per sample or
word; K outputs.
"""

import json
from array import array
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple

from frostline.errors import RunError, first_line
from frostline.paths import write_atomically

Split = Literal["val", "test"]
FOLDER = "predictions"
EVALUATED = "evaluated"  # folder within, of samples that are not the run's own test split
SLICE = "slice:"  # begins the names of columns by whose values scores are reported
KEY = b"frostline"  # in the schema metadata of the Parquet file
SCHEMA = 1


class Predictions(NamedTuple):
    """about: `part` (the split), task, kind and names of the targets, scores, and the phase and epoch of the weights;
    `worst` and `ratios` (see `Task`), which earlier versions did not write.

    columns: NumPy arrays, (R,) or (R, K): `sample`, its path, or file and line; `index`, its index in its source, from
    0; `group`, if samples have groups; `slice:<column>`, their values of `data.group_columns`; for words also `word`,
    its index in the sentence, from 0; `target`; the outputs under the task's names; `phase`, that of the weights.
    """

    about: dict[str, Any]
    columns: dict[str, Any]


def file_of(split: str) -> str:
    """The path relative to the run folder. split: val, test, or EVALUATED/<name>."""
    return f"{FOLDER}/{split}.parquet"


def evaluations(run: Path) -> list[str]:
    """Names of the samples on which a run was scored later."""
    return sorted(file.stem for file in (run / FOLDER / EVALUATED).glob("*.parquet"))


def write(run: Path, split: Split, columns: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the file of one split; it replaces an earlier one atomically. columns: NumPy arrays, (R,) or (R, K) (not of
    bool), and lists of str. Raises OSError."""
    _write(run / file_of(split), split, columns, about)


def write_evaluation(run: Path, name: str, columns: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
    """Write predictions of other samples, as those of a test split, and return the file. Raises OSError."""
    file = run / file_of(f"{EVALUATED}/{name}")
    _write(file, "test", columns, about)
    return file


def _write(file: Path, split: Split, columns: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_arrays([_column(values) for values in columns.values()], list(columns))
    metadata = json.dumps({"schema": SCHEMA, "part": split, **about})
    texts = [name for name, values in columns.items() if isinstance(values, list)]  # numbers hardly repeat
    content = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({KEY: metadata.encode()}), content, use_dictionary=texts)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content.getvalue().to_pybytes())


def _column(values: Any) -> Any:
    """Build an Arrow column from buffers: `pyarrow.array` would import pandas if installed, which takes a second."""
    import pyarrow as pa

    if isinstance(values, list):
        encoded = [text.encode() for text in values]
        offsets = array("i", accumulate(map(len, encoded), initial=0))
        return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    flat = values.reshape(-1)
    if flat.dtype == bool:  # NumPy has a byte for each, and Arrow a bit
        return _column(values.view("uint8")).cast(pa.bool_())
    column = pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])
    return column if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(column, values.shape[1])


def read(run: Path, split: str) -> Predictions:
    """Read the predictions of one split, see `file_of`. Raises RunError if the run stored none, or if they cannot
    be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = run / file_of(split)
    if not file.is_file():
        raise RunError(
            f"the run stored no predictions of its split '{split}'",
            where=file,
            next_step="train with predictions=true and a larger predictions_max_gigabytes; earlier versions wrote none",
        )
    try:
        # `pq.read_table` would import pandas if installed, which takes a second. A thread of Arrow may hold the bytes
        # for longer than the read; at the end of the process it would abort it (apache/arrow issue 34314).
        table = pq.ParquetFile(pa.BufferReader(file.read_bytes())).read(use_threads=False)
        about = json.loads(table.schema.metadata[KEY])
        if about["schema"] != SCHEMA:
            raise ValueError(f"it has schema {about['schema']}, but this version reads schema {SCHEMA}")
        columns = {name: _array(table.column(name)) for name in table.column_names}
        _require_whole(columns)
        return Predictions(about, columns)
    except (OSError, pa.ArrowException, TypeError, KeyError, ValueError) as error:
        raise RunError(
            f"the predictions cannot be read: {first_line(error)}", where=file, next_step="restore the file"
        ) from error


def _require_whole(columns: Mapping[str, Any]) -> None:
    """Raise ValueError unless rows have samples, and targets of classes are among these."""
    for name in ("sample", "index"):
        if name not in columns:
            raise ValueError(f"there is no column '{name}'")
    target, logits = columns.get("target"), columns.get("logits")
    if target is None or logits is None or target.ndim != 1 or logits.ndim != 2 or logits.shape[1] < 2:
        return
    if len(target) and (target.dtype.kind not in "iu" or not 0 <= target.min() <= target.max() < logits.shape[1]):
        raise ValueError("a target is none of the classes")


def _array(column: Any) -> Any:
    """A NumPy array of a column without missing values, from buffers too."""
    whole = column.combine_chunks()
    width = getattr(column.type, "list_size", None)
    return _flat(whole) if width is None else _flat(whole.flatten()).reshape(-1, width)


def _flat(values: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_string(values.type):
        return np.array(values.to_pylist(), dtype=object)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
        return _flat(values).astype(bool)
    if values.null_count:
        raise ValueError("a number is missing")
    kind = values.type.to_pandas_dtype()
    return np.frombuffer(values.buffers()[1], kind)[values.offset : values.offset + len(values)].copy()
