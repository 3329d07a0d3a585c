"""Compare predictions with those that a run stored. Shapes: R rows, a sample or a word each."""

from pathlib import Path
from typing import Any

import numpy as np

from frostline.errors import RunError
from frostline.runs.predictions import SLICE, Split, read

ROUNDING = 1e-4  # between devices, thread counts and versions of libraries; float32 has about seven digits
NOT_OUTPUTS = {"sample", "index", "group", "word", "target", "phase"}  # columns that say of what an output is


def comparison(run: Path, split: Split, columns: dict[str, Any]) -> str:
    """Say in a line how the outputs differ from the stored ones. columns: as `table_of` returns them."""
    try:
        stored = read(run, split).columns
    except RunError as error:
        return f"not compared with the stored predictions: {error.what}"
    return comparison_of(columns, stored)


def comparison_of(columns: dict[str, Any], stored: dict[str, Any]) -> str:
    new = [name for name in columns if name not in NOT_OUTPUTS and not name.startswith(SLICE)]
    outputs = [name for name in new if name in stored]  # an earlier version may have stored fewer
    same = [name for name in ("index", "word", "target") if name in columns]
    if not outputs or any(name not in stored or not np.array_equal(stored[name], columns[name]) for name in same):
        return "the stored predictions are of other samples or targets"
    gaps = [_gaps(columns[name], stored[name]) for name in outputs]
    if any(gap is None for gap in gaps):
        return "the stored predictions have outputs of another shape"
    largest = np.stack([gap for gap in gaps if gap is not None]).max(0)
    count = int((largest > 0).sum())
    if not count:
        return f"all {len(largest):,} agree with the stored ones"
    if largest.max() <= ROUNDING:
        return f"all {len(largest):,} agree with the stored ones to {largest.max():.0e}"
    return f"{count:,} of {len(largest):,} differ from the stored ones, by up to {largest.max():.2g}"


def _gaps(new: np.ndarray, old: np.ndarray) -> np.ndarray | None:
    """(R,) largest absolute difference of each row; 0 between NaNs, infinite between NaN and a number."""
    if new.shape != old.shape:
        return None
    gap = np.abs(new.astype(np.float64) - old.astype(np.float64)).reshape(len(new), -1)
    gap[np.isnan(new).reshape(gap.shape) & np.isnan(old).reshape(gap.shape)] = 0
    return np.nan_to_num(gap, nan=np.inf).max(1)
