"""A class for each pixel. Shapes: N pictures, C classes; targets of a split are (N, C) pixels of each class, those of a
batch (B, H, W) class indices, IGNORED for pixels that do not count.
"""

from typing import ClassVar

from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.target_types.base import Geometry, require_differences
from frostline.data.target_types.shown import ShownClasses


class Masks(ShownClasses):
    """about: `values` of the classes in mask files, and the `palette` of these files: red, green and blue per value, in
    one flat list."""

    kind = "masks"
    described_as = "a class for each pixel"
    task = "segmentation"
    data = "data=image_masks"
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
