"""What target types share whose samples show any number of classes. Shapes: N samples, C classes; targets (N, C) int64,
how much of each class a sample shows.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from frostline.data.target_types.base import Geometry, TargetType
from frostline.data.target_types.labels import rarest
from frostline.errors import ConfigError, shortened


class ShownClasses(TargetType):
    plural = "classes"
    mixes = False

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        """Number of samples that show each class."""
        return dict(zip(names, (targets > 0).sum(0).tolist(), strict=True))

    def strata(self, targets: Tensor) -> Tensor:
        """The rarest class in each sample: the one that fewest samples show."""
        return rarest(targets > 0)

    def follow(self, targets: Any, geometry: Geometry) -> Any:
        """Named targets follow one by one (`follow_named`)."""
        if isinstance(targets, Mapping):
            return {name: self.follow_named(name, leaf, geometry) for name, leaf in targets.items()}
        return self.moved(targets, geometry)

    @abstractmethod
    def moved(self, targets: Tensor, geometry: Geometry) -> Tensor:
        """See `follow`."""

    def follow_named(self, name: str, leaf: Tensor, geometry: Geometry) -> Tensor:
        """One of several targets: maps (B, H, W) or (B, K, H, W) of the view's sides, such as a teacher's outputs, are
        moved; (B,) and (B, K) belong to whole pictures and stay. Raises ConfigError for others."""
        if leaf.ndim <= 2:
            return leaf
        if leaf.ndim > 4 or tuple(leaf.shape[-2:]) != tuple(geometry.sides):
            height, width = geometry.sides
            raise ConfigError(
                f"augmented pictures are moved, but not the target '{shortened(name)}' of the shape "
                f"{tuple(leaf.shape)}: maps of these pictures have the shape (..., {height}, {width})",
                where="data",
                next_step="data.augment=none",
            )
        return geometry.maps(leaf) if leaf.ndim == 4 else geometry.maps(leaf.unsqueeze(1)).squeeze(1)
