"""A class for each pixel. Shapes: N pictures, C classes; targets of a split are (N, C) pixels of each class, those of a
batch (B, H, W) class indices, IGNORED for pixels that do not count.
"""

from typing import ClassVar

import torch
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.target_types.base import Geometry, Rows, require_differences
from frostline.data.target_types.shown import ShownClasses
from frostline.tasks.segmentation import IGNORED


class Masks(ShownClasses):
    """about: `values` of the classes in mask files, and the `palette` of these files: red, green and blue per value, in
    one flat list."""

    kind = "masks"
    described_as = "a class for each pixel"
    task = "segmentation"
    data = "data=image_masks"
    rows_from = "map"
    rows_are = "cells"
    about: ClassVar[dict[str, str]] = {"palette": "list[int]", "values": "list[int]"}

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """`Targets.counts` are pixels."""
        return Targets(self.kind, names, targets.sum(0).tolist(), {})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """`11 classes, the most frequent 'road' (29 % of the pixels)`."""
        most = max(targets.counts)
        share = 100 * most / max(sum(targets.counts), 1)
        name = targets.names[targets.counts.index(most)]
        return f"{len(targets.names)} {self.plural}, the most frequent '{name}' ({share:.0f} % of the pixels)"

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        step = "add pictures that show other classes"
        require_differences(targets, sum(targets.counts), "pixel", step, where, name="class")

    def moved(self, targets: Tensor, geometry: Geometry) -> Tensor:
        return geometry.maps(targets.unsqueeze(1)).squeeze(1)

    def rows(self, features: Tensor, targets: Tensor) -> Rows:
        """A row for each cell of the map (B, D, h, w) with a pixel that counts: its class is the most frequent one of
        these pixels, the first in the order of names if several are."""
        counts = pixels_of_cells(targets, *features.shape[2:])
        seen = counts.sum(-1) > 0
        return Rows(features.permute(0, 2, 3, 1)[seen], counts.argmax(-1)[seen], seen.nonzero()[:, 0])


def pixels_of_cells(masks: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W) → (B, height, width, C) pixels of each class in each cell, for the classes up to the last that occurs.
    A pixel belongs to the cell that lies over it if the map is enlarged to the mask: sides need not divide."""
    down, across = (
        torch.arange(pixels, device=masks.device) * cells // pixels
        for pixels, cells in zip(masks.shape[1:], (height, width), strict=True)
    )
    cell, counted = down[:, None] * width + across, masks != IGNORED
    number = 1 + int(masks[counted].max()) if bool(counted.any()) else 1
    # One picture at a time: indices take eight times the bytes of the masks.
    found = [
        (cell[seen] * number + mask[seen]).bincount(minlength=height * width * number)
        for mask, seen in zip(masks, counted, strict=True)
    ]
    return torch.stack(found).view(-1, height, width, number)
