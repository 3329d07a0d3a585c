"""The batch that a loader hands to the model. Shapes: B samples of this rank, C classes or other targets."""

from typing import Any, NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """inputs: (B, 3, H, W) pictures, uint8 from the loader, float after preprocessing; Tokens for texts and sounds.
    targets: (B,) class indices, or (B, C) probabilities if pictures were mixed; (B, C) labels or numbers; (B, L + K)
        tags of L tokens, -100 where no word begins, then of up to K words that were cut off; (B, H, W) classes of
        pixels; (B, 1 + W) the number of tokens, then a transcript of up to W characters, NO_TAG behind its end; by name
        if a source has several, such as a class and the outputs of a teacher.
    sample: (B,) index of each sample in its source; seeds its augmentation.
    sizes: (B, 2) height and width in pixels of pictures that were padded to a common size; None without padding.
    own_sizes: (B, 2) height and width in pixels of the pictures in their files, if targets or predictions have that
        size.
    passed: number of blocks that `inputs` have passed; from 1 on they are outputs of frozen blocks, not pictures.
    user: (B,) index of the user whose each sample is, within its split, -1 if it names none; None if samples
        are not ranked by user.
    weight: factor of this rank's mean loss, so that the mean over ranks is the mean over the global batch even if the
        ranks' shares differ in size. 1.0 in one process.
    """

    inputs: Any
    targets: Any
    sample: Tensor
    sizes: Tensor | None = None
    weight: float = 1.0
    passed: int = 0
    own_sizes: Tensor | None = None
    user: Tensor | None = None

    @property
    def size(self) -> int:
        return len(self.sample)

    @property
    def pictures(self) -> Tensor:
        assert isinstance(self.inputs, Tensor)
        return self.inputs
