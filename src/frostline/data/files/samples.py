"""What readers of files put into `Found`: the files of a split and their targets, not yet decoded. Shapes: N files."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


class SampleFiles:
    """A modality adds how they are decoded. labels: see `Source`. root: see `FilePictures`."""

    def __init__(self, files: Sequence[Path], labels: Tensor, root: Path) -> None:
        self.files = list(files)
        self.labels = labels
        self.root = root
