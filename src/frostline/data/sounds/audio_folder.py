"""A reader of your own sounds in one folder per class."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from frostline.data.files.class_folders import ClassFolders
from frostline.data.sounds.files import SOUNDS
from frostline.data.sounds.modality import SoundModality
from frostline.data.sounds.sources import SoundSamples


class AudioFolder(ClassFolders):
    modality = SoundModality
    files = SOUNDS
    listed_by = "audio_csv"

    def samples_of(self, files: Sequence[Path], labels: Tensor) -> SoundSamples:
        return SoundSamples(files, labels, self.dir)
