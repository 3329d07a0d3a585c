"""What picture readers put into `Found`: pictures of a split, not yet resized for a backbone, and their targets.

Shapes: N pictures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.files.samples import SampleFiles
from frostline.data.pictures.grey import Range
from frostline.data.pictures.sources import ArrayPictures, FilePictures, Pictures
from frostline.data.sample_cache import SampleCache


class PictureSamples(Protocol):
    """PictureModality builds its sources from these.

    files: pictures that may have more than 8 bits of grey."""

    @property
    def files(self) -> Sequence[Path]: ...

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> Pictures:
        """Return the source of these pictures at the size of `spec`. grey: range of pictures with more than 8 bits.
        cache: of pictures decoded at once. name: of the data, for the cache. Raises DataError."""


class FileSamples(SampleFiles):
    """Pictures in files."""

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> FilePictures:
        return FilePictures(self.files, self.labels, root=self.root, spec=spec, grey=grey)


class ArraySamples:
    """Pictures in memory. pixels: (N, 3, H, W) uint8. labels: see `Source`."""

    files: Sequence[Path] = ()

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels = pixels
        self.labels = labels

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> ArrayPictures:
        return ArrayPictures(self.pixels, self.labels)
