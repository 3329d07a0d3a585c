"""Numbers and names of rows as plain values, for models that are no network. Shapes: N rows."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from frostline.contracts.features import MISSING, UNKNOWN
from frostline.data.modality import Column
from frostline.data.rows.sources import ROW, RowSource


def plain_columns(source: RowSource, index: Tensor, row: Mapping[str, Any]) -> list[Column]:
    """A number is (N, 1), or (N, 2) with a flag for rows that lack it; an empty name has a code of its own. row: see
    `statistics.coded`."""
    cells: Any = source.beside(index)[ROW]
    flags = iter(cells["flags"].T)
    numbers = [
        Column(name, torch.stack([values, next(flags)] if own["missing"] else [values], 1))
        for (name, own), values in zip(row["numbers"].items(), cells["numbers"].T, strict=True)
    ]
    names = [
        Column(name, _codes(codes), is_id=name in source.kinds.ids)
        for name, codes in zip(row["names"], cells["names"].T, strict=True)
    ]
    return numbers + names


def _codes(codes: Tensor) -> Tensor:
    """From 0: empty cells first, as far as training has some, then the known names."""
    return torch.where(codes == UNKNOWN, -1, torch.where(codes == MISSING, 0, codes - 1))
