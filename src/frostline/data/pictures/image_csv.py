"""A reader of your own pictures, listed in a table of paths and targets."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from frostline.data.files.listed import ListedFiles
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import FileSamples


class ImageCsv(ListedFiles):
    modality = PictureModality
    files = PICTURES

    def samples_of(self, files: Sequence[Path], targets: Tensor) -> FileSamples:
        return FileSamples(files, targets, self.dir)
