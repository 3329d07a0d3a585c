"""How batches are shown to the network: prepared for it, and augmented."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from frostline.contracts.batch import Batch


class Views:
    """Show batches as they are. A modality with preprocessing or augmentation overrides it."""

    could_augment = False  # whether there is an augmentation at all
    mixes = False  # whether the view of a sample depends on others of its batch

    def describe(self) -> Sequence[Any]:
        """The augmentation in plain values."""
        return ()

    def look(self) -> dict[str, Any]:
        """Settings by which the network sees other inputs, in plain values: a resume compares them."""
        return {}

    def plain(self, batch: Batch) -> Batch:
        """Prepare the inputs without augmentation."""
        return batch

    def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
        """Prepare and augment inputs and targets as in that epoch. alone: give each sample the same bits whatever its
        batch holds."""
        return batch

    def follow(self, targets: Tensor, sample: Tensor, epoch: int) -> Tensor:
        """Return the targets of samples that are augmented as in that epoch."""
        return targets
