"""The view of a batch that the network gets: preprocessed and, in training, augmented."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.data.target_types.base import TargetType


class Views:
    """Shows batches unchanged. A modality with preprocessing or augmentation returns a subclass from `prepare`.

    Batches come as the loader made them, on the device that trains."""

    @property
    def could_augment(self) -> bool:
        """Whether `augmented` differs from `plain`."""
        return False

    @property
    def mixes(self) -> bool:
        """Whether an augmented sample depends on others of its batch."""
        return False

    def describe(self) -> Sequence[Any]:
        """The augmentation as plain values, for cache keys."""
        return ()

    def look(self) -> dict[str, Any]:
        """Settings of the augmentation, as plain values. A resume compares them."""
        return {}

    def plain(self, batch: Batch) -> Batch:
        """Preprocess inputs without augmentation."""
        return batch

    def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
        """Preprocess and augment inputs and targets as in `epoch`. alone: a sample's bits must not depend on the rest
        of its batch."""
        return batch

    def follow(self, targets: Any, sample: Tensor, epoch: int) -> Any:
        """Return the targets of samples augmented as in `epoch`. sample: (B,) indices in their source."""
        return targets


class Mixing(Protocol):
    """How strongly samples are augmented. mix: share of samples that are mixed with another."""

    @property
    def mix(self) -> float: ...


class AugmentedViews(Views):
    """Views that augment by a `strength`; None: not at all. target: the type of the targets."""

    strength: Mixing | None
    target: TargetType

    @property
    def could_augment(self) -> bool:
        return self.strength is not None

    @property
    def mixes(self) -> bool:
        return self.strength is not None and self.strength.mix > 0 and self.target.mixes

    def look(self) -> dict[str, Any]:
        return {"augment": self.describe()}
