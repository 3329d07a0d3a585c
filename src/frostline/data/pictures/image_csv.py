"""A reader of your own pictures, listed in a table of paths and targets."""

from frostline.data.files.listed import ListedFiles
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import FileSamples


class ImageCsv(ListedFiles):
    modality = PictureModality
    files = PICTURES
    samples = FileSamples
