"""A reader of your own sounds, listed in a table of paths and targets."""

from frostline.data.files.listed import ListedFiles
from frostline.data.sounds.files import SOUNDS
from frostline.data.sounds.modality import SoundModality
from frostline.data.sounds.sources import SoundSamples


class AudioCsv(ListedFiles):
    modality = SoundModality
    files = SOUNDS
    samples = SoundSamples
