"""Pictures as readers find them, with their targets: not yet resized for a backbone. Shapes: N pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.grey import Range
from frostline.data.pictures.sources import ArrayPictures, FilePictures, Pictures
from frostline.data.sample_cache import SampleCache


class PictureSamples(Protocol):
    """files: whose depth of grey counts; none of pictures that have 8 bits."""

    @property
    def files(self) -> Sequence[Path]: ...

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> Pictures:
        """grey: the range of pictures of more than 8 bits. cache: for pictures that are decoded now. name: of the data.
        Raises DataError."""


class FileSamples:
    """labels: as of `Source`. root: see `FilePictures`."""

    def __init__(self, files: Sequence[Path], labels: Tensor, root: Path) -> None:
        self.files = files
        self.labels = labels
        self.root = root

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> FilePictures:
        return FilePictures(self.files, self.labels, root=self.root, spec=spec, grey=grey)


class ArraySamples:
    """pixels: (N, 3, H, W) uint8."""

    files: Sequence[Path] = ()

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels = pixels
        self.labels = labels

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> ArrayPictures:
        return ArrayPictures(self.pixels, self.labels)
