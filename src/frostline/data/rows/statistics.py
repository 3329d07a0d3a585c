"""What a network needs to know of columns, from the training rows alone: statistics in plain values, and rows by them.

Shapes: N rows, n columns of numbers, f of them with missing values in training, c columns of names.
"""

from collections.abc import Mapping
from math import fsum, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frostline.contracts.features import FIRST_KNOWN, MISSING, UNKNOWN
from frostline.data.rows.columns import Columns, whole
from frostline.data.target_types.numbers import LEAST_DEVIATION

Normalise = Literal["standard", "quantile"]
KNOTS = 256  # most quantiles of a column of numbers
BEYOND = 1e-3  # quantiles are cut off at this distance from 0 and 1: ±3.1 standard deviations
STEPS = 5.0  # standard deviations at which standardised numbers are cut off, so that one wrong number spoils no step


class Coded(NamedTuple):
    """numbers: (N, n) float32, 0 where one is missing. flags: (N, f) float32, 1 there. names: (N, c) int64 codes."""

    numbers: Tensor
    flags: Tensor
    names: Tensor


def statistics_of(columns: Columns, index: Tensor, normalise: Normalise) -> dict[str, Any]:
    """Plain values for `coded`. index: of the training rows."""
    numbers = {name: _of_numbers(values[index], normalise) for name, values in columns.numbers.items()}
    names = {}
    for name, cells in columns.names.items():
        own = [cells[place] for place in index.tolist()]
        names[name] = {"known": sorted({*own} - {""}), "missing": "" in own}
    return {"numbers": numbers, "names": names}


def _of_numbers(values: Tensor, normalise: Normalise) -> dict[str, Any]:
    """Exact sums (fsum) are equal in any order of the rows."""
    there = values[~values.isnan()].tolist()
    missing = len(there) < len(values)
    if not there:
        return {"mean": 0.0, "scale": 0.0, "missing": missing}
    if normalise == "quantile":
        share = np.linspace(0, 1, min(KNOTS, len(there)))
        return {"knots": np.quantile(np.array(there), share).tolist(), "missing": missing}
    mean = fsum(there) / len(there)
    std = sqrt(fsum((x - mean) ** 2 for x in there) / len(there))
    varies = std > LEAST_DEVIATION * abs(mean)
    return {"mean": mean, "scale": 1 / std if varies and std else 0.0, "missing": missing}


def coded(columns: Columns, row: Mapping[str, Any]) -> Coded:
    """Rows as numbers and codes. row: of `statistics_of`. A number that is missing though none was in training counts
    as the mean, and a name as unknown."""
    numbers, flags = [], []
    for name, learned in row["numbers"].items():
        values = columns.numbers[name]
        gone = values.isnan()
        numbers.append(torch.where(gone, 0.0, _normalised(values, learned)).float())
        if learned["missing"]:
            flags.append(gone.float())
    names = [_codes(columns.names[name], learned) for name, learned in row["names"].items()]
    rows = len(columns)
    return Coded(
        torch.stack(numbers, 1) if numbers else torch.zeros(rows, 0),
        torch.stack(flags, 1) if flags else torch.zeros(rows, 0),
        torch.stack(names, 1) if names else torch.zeros(rows, 0, dtype=torch.int64),
    )


def _normalised(values: Tensor, learned: Mapping[str, Any]) -> Tensor:
    if "knots" not in learned:
        return ((values - learned["mean"]) * learned["scale"]).clamp(-STEPS, STEPS)
    knots, x = np.array(learned["knots"]), values.nan_to_num().numpy()
    share = np.linspace(0, 1, len(knots))
    # Equal knots: the middle of their shares. scikit-learn's QuantileTransformer has an end for those at an end.
    middle = 0.5 * (np.interp(x, knots, share) - np.interp(-x, -knots[::-1], -share[::-1]))
    return torch.special.ndtri(torch.from_numpy(middle).clamp(BEYOND, 1 - BEYOND))


def _codes(cells: list[str], learned: Mapping[str, Any]) -> Tensor:
    places = {whole(name): place for place, name in enumerate(learned["known"], FIRST_KNOWN)}
    places[""] = MISSING if learned["missing"] else UNKNOWN
    return torch.tensor([places.get(cell, UNKNOWN) for cell in cells], dtype=torch.int64)
