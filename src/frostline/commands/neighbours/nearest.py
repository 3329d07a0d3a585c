"""Exact search. Shapes: Q queries, N samples of a gallery, D numbers of length 1 each."""

import numpy as np
import torch
from torch import Tensor

QUERIES, ROWS = 256, 65_536  # compared at a time: 64 MiB of similarities


def nearest(queries: Tensor, gallery: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    """(Q, D), (N, D) → cosines and indices of the k nearest, (Q, k) each, the nearest first; of equal ones, the earlier
    first. k: at most N. Reads the gallery once for each QUERIES queries."""
    found = [_of_some(some, gallery, k) for some in queries.split(QUERIES)]
    return torch.cat([similar for similar, _ in found]), torch.cat([places for _, places in found])


def _of_some(queries: Tensor, gallery: np.ndarray, k: int) -> tuple[Tensor, Tensor]:
    best, places = queries.new_zeros(len(queries), 0), torch.zeros(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(gallery), ROWS):
        block = torch.from_numpy(np.array(gallery[start : start + ROWS]))
        similar = torch.cat([best, queries @ block.T], 1)
        own = torch.arange(start, start + len(block)).expand(len(queries), -1)
        best, places = _first(similar, torch.cat([places, own], 1), k)
    return best, places


def _first(similar: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, the largest first; of equal ones, those further left first, which `topk` does not
    promise."""
    k = min(k, similar.shape[1])
    least = similar.topk(k, dim=1).values[:, -1:]
    rows, columns = (similar >= least).nonzero(as_tuple=True)
    order = similar[rows, columns].argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    number = torch.arange(len(order)) - (rows.bincount().cumsum(0) - rows.bincount())[rows[order]]
    kept = order[number < k]
    shape = len(similar), k
    return similar[rows[kept], columns[kept]].view(shape), places[rows[kept], columns[kept]].view(shape)
