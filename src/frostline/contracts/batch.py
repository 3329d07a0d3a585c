"""What a loader hands to the model. Shapes: B samples of this rank, C classes or other targets."""

from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """inputs: (B, 3, H, W), uint8 from the loader, float after preprocessing; of texts, Tokens.
    targets: (B,) class indices, or (B, C) probabilities where pictures were mixed; (B, C) of labels and numbers;
        (B, L) of tags, -100 where no word begins; (B, H, W) of masks.
    sample: (B,) the sample's place in its part, the key of its random numbers.
    sizes: (B, 2) height and width in pixels of pictures that were padded to a common size; None where all are whole.
    own_sizes: (B, 2) height and width in pixels of the pictures in their files, where targets or predictions have that
        size.
    passed: blocks of the backbone that `inputs` have been through: they are what the frozen ones gave, and no pictures.
    weight: times the mean loss of this rank, so that the mean over ranks is the mean over the global batch even where
        the ranks' shares differ in size. 1.0 in one process.
    """

    inputs: Any
    targets: Tensor
    sample: Tensor
    sizes: Tensor | None = None
    weight: float = 1.0
    passed: int = 0
    own_sizes: Tensor | None = None

    @property
    def size(self) -> int:
        return len(self.sample)

    @property
    def pictures(self) -> Tensor:
        assert isinstance(self.inputs, Tensor)
        return self.inputs
