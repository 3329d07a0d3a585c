"""Cut large pictures into overlapping tiles, so that a network sees them at the scale of training. Sizes in pixels."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.data.pictures.reading import Box

OVERLAP = 0.25  # least share of a tile's side: an object at a tile's edge is whole in the next tile
LARGER = 1.5  # times the tile's side; pictures with a larger side are cut


class Tile(NamedTuple):
    """box: the input of the network. kept: the part of the picture for which this tile's prediction is used."""

    box: Box
    kept: Box


def tiles_of(size: tuple[int, int], tile: Sequence[int]) -> list[Tile]:
    """Tiles of a picture, row by row; a single one if no side is LARGER. size: width and height of the picture. tile:
    height and width of a tile."""
    width, height = size
    if width <= LARGER * tile[1] and height <= LARGER * tile[0]:
        whole = (0, 0, width, height)
        return [Tile(whole, whole)]
    rows, columns = _spans(height, tile[0]), _spans(width, tile[1])
    return [
        Tile((left, top, right, bottom), (begin, first, end, last))
        for (top, bottom, first, last), (left, right, begin, end) in product(rows, columns)
    ]


def _spans(side: int, tile: int) -> list[tuple[int, int, int, int]]:
    """Start and end of each tile along a side, and of its kept part: neighbours keep half of their overlap each."""
    if side <= tile:
        return [(0, side, 0, side)]
    step = max(1, int(tile * (1 - OVERLAP)))
    number = 1 + -(-(side - tile) // step)
    starts = [round(place * (side - tile) / (number - 1)) for place in range(number)]
    borders = [0, *((start + before + tile) // 2 for before, start in pairwise(starts)), side]
    return [(start, start + tile, borders[place], borders[place + 1]) for place, start in enumerate(starts)]


def joined(predictions: Sequence[Tensor], tiles: Sequence[Tile]) -> Tensor:
    """Join predictions of tiles, (h, w) each, to that of the whole picture, (H, W)."""
    height, width = max(tile.kept[3] for tile in tiles), max(tile.kept[2] for tile in tiles)
    whole = torch.empty(height, width, dtype=predictions[0].dtype)
    for prediction, ((left, top, _, _), (begin, first, end, last)) in zip(predictions, tiles, strict=True):
        whole[first:last, begin:end] = prediction[first - top : last - top, begin - left : end - left]
    return whole
