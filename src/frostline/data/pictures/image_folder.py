"""A reader of your own pictures in one folder per class."""

from frostline.data.files.class_folders import ClassFolders
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import FileSamples


class ImageFolder(ClassFolders):
    modality = PictureModality
    files = PICTURES
    samples = FileSamples
    listed_by = "image_csv"
