"""A reader of your own pictures in one folder per class."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from frostline.data.files.class_folders import ClassFolders
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import FileSamples


class ImageFolder(ClassFolders):
    modality = PictureModality
    files = PICTURES
    listed_by = "image_csv"

    def samples_of(self, files: Sequence[Path], labels: Tensor) -> FileSamples:
        return FileSamples(files, labels, self.dir)
