"""What target types share whose samples show any number of classes. Shapes: N samples, C classes; targets (N, C) int64,
how much of each class a sample shows.
"""

from torch import Tensor

from frostline.data.target_types.base import TargetType
from frostline.data.target_types.labels import rarest


class ShownClasses(TargetType):
    plural = "classes"
    mixes = False

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        """Number of samples that show each class."""
        return dict(zip(names, (targets > 0).sum(0).tolist(), strict=True))

    def strata(self, targets: Tensor) -> Tensor:
        """The rarest class in each sample: the one that fewest samples show."""
        return rarest(targets > 0)
