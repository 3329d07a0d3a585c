"""Objects in a picture, with a box each. Shapes: N pictures, C classes, M the most boxes of a picture; targets of a
split are (N, C) boxes of each class, those of a batch (B, M, 5): left, top, right and bottom in pixels of the view, and
the class, -1 in rows that only fill up.
"""

import torch
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.target_types.base import Geometry
from frostline.data.target_types.shown import ShownClasses
from frostline.errors import DataError

LEAST_SHARE = 0.25  # of its area; a box of which an augmented view shows less is left out
LEAST_SIDE = 1.0  # pixels
COLUMNS = 5  # of a box: four edges and the class


class Boxes(ShownClasses):
    kind = "boxes"
    described_as = "boxes around objects"
    task = "detection"
    data = "data=boxes"
    reflects = False

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """`Targets.counts` are boxes."""
        return Targets(self.kind, names, targets.sum(0).tolist(), {})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """`2,804 boxes of 3 classes, the most frequent 'RBC' (85 %)`."""
        total, most = sum(targets.counts), max(targets.counts)
        number, name = len(targets.names), targets.names[targets.counts.index(most)]
        classes = f"{number} classes, the most frequent" if number > 1 else "the class"
        return f"{total:,} boxes of {classes} '{name}'" + (f" ({100 * most / total:.0f} %)" if number > 1 else "")

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        if not sum(targets.counts):
            raise DataError(
                "no training picture has a box, so that there is nothing to learn",
                where=where,
                next_step="add pictures with boxes",
            )

    def require_scorable(self, targets: Tensor, split: str, where: object) -> None:
        if not targets.sum():
            raise DataError(
                f"no picture of the {split} split has a box to score",
                where=where,
                next_step="add boxes to it, or remove its annotations, so that it is taken from the training split",
            )

    def follow_named(self, name: str, leaf: Tensor, geometry: Geometry) -> Tensor:
        """Boxes (B, M, 5) are moved; others as in `ShownClasses`."""
        own = leaf.ndim == 3 and leaf.shape[2] == COLUMNS and leaf.is_floating_point()
        return self.moved(leaf, geometry) if own else super().follow_named(name, leaf, geometry)

    def moved(self, targets: Tensor, geometry: Geometry) -> Tensor:
        """Boxes are cut at the edges of the view; those of which less than LEAST_SHARE is seen are left out."""
        whole = geometry.boxes(targets[..., :4])
        height, width = geometry.sides
        most = whole.new_tensor([width, height, width, height])
        seen = whole.clamp(min=0).minimum(most)
        sides = seen[..., 2:] - seen[..., :2]
        share = sides.prod(-1) / (whole[..., 2:] - whole[..., :2]).prod(-1)
        stays = (targets[..., 4] >= 0) & (sides.amin(-1) >= LEAST_SIDE) & (share >= LEAST_SHARE)
        moved = torch.cat([seen, targets[..., 4:]], -1)
        return torch.where(stays[..., None], moved, -1.0)
