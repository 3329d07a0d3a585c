"""A reader of your own sounds in one folder per class."""

from frostline.data.files.class_folders import ClassFolders
from frostline.data.sounds.files import SOUNDS
from frostline.data.sounds.modality import SoundModality
from frostline.data.sounds.sources import SoundSamples


class AudioFolder(ClassFolders):
    modality = SoundModality
    files = SOUNDS
    samples = SoundSamples
    listed_by = "audio_csv"
