"""Sources of sounds: their spectrograms, decoded once or on access. Shapes: N sounds, (3, M, F) uint8 as for pictures:
M mel bands, F frames, the three channels alike.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frostline.data.files.samples import SampleFiles
from frostline.data.pictures.packed import packed_bytes, padded
from frostline.data.pictures.sources import FilePictures
from frostline.data.sounds.files import SOUNDS, Header, read_sound
from frostline.data.sounds.spectrogram import SoundSpec, frames_of, spectrogram
from frostline.errors import DataError

MOST_SECONDS = 600  # of a longer sound, the middle is decoded
VERSION = 1  # version of the spectrogram; part of the key, so that a new number invalidates the cache


class SoundFiles(FilePictures):
    """headers: of the files. spec: with the `rate` of decoded sounds. Otherwise as `FilePictures`."""

    cut = False
    kind = SOUNDS

    def __init__(
        self, files: Sequence[Path], labels: Tensor, *, headers: Sequence[Header], root: Path, spec: Any
    ) -> None:
        super().__init__(files, labels, root=root, spec=spec)
        self.headers = list(headers)

    def silent(self) -> list[str]:
        """Paths of the sounds without any value above silence; none if they are decoded on access only."""
        sounds = self._decoded or ()
        return [str(file) for file, sound in zip(self.files, sounds, strict=False) if not sound.any()]

    def problem_of(self, file: Path) -> DataError | None:
        return problem_of(file, self.spec.rate)  # type: ignore[attr-defined]

    def read_header(self, header: Header) -> Header:
        """The header of what is decoded: at most MOST_SECONDS."""
        return header._replace(frames=min(header.frames, round(MOST_SECONDS * header.rate)))


class Spectrograms(SoundFiles):
    spec: SoundSpec

    @property
    def decoded_bytes(self) -> int:
        return 3 * self.spec.mels * sum(map(self._frames, self.headers))

    @property
    def decoded_by(self) -> Sequence[str]:
        versions = [f"{name} {metadata.version(name)}" for name in ("soundfile", "scipy", "torch")]
        return [f"spectrogram {VERSION}", *versions]

    def decoding(self) -> dict[str, Any]:
        bands = [self.spec.rate, self.spec.mels]
        return {"sounds": self.content, "bands": bands, "versions": [*self.decoded_by]}

    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tensor, Tensor | None]:
        """whole: whole sounds, padded with silence at the end; otherwise their middle, of the spec's length."""
        places = torch.as_tensor(index).tolist()
        found = [self._read(i).permute(1, 2, 0).numpy() if self._decoded is None else self._decoded[i] for i in places]
        return padded(found if whole else [middle(sound, self.spec.frames) for sound in found])

    def _decode(self, place: int, encoded: bytes) -> Tensor:
        return as_picture(read_sound(self.files[place], self.spec.rate, MOST_SECONDS, encoded), self.spec)

    def _measured(self, place: int) -> Tensor:
        return packed_bytes((self.spec.mels, self._frames(self.headers[place])))

    def _frames(self, header: Header) -> int:
        return frames_of(self.read_header(header).values_at(self.spec.rate), self.spec.rate)


def as_picture(values: Tensor, spec: SoundSpec) -> Tensor:
    """(T,) values at the spec's rate → (3, M, F)."""
    return spectrogram(values, spec.rate, spec.mels).expand(3, -1, -1)


def middle(sound: np.ndarray, frames: int) -> np.ndarray:
    """(M, F, 3) → (M, frames, 3): the middle of a longer sound; a shorter one in the middle of silence."""
    spare = frames - sound.shape[1]
    if spare <= 0:
        return sound[:, -spare // 2 : -spare // 2 + frames]
    return np.pad(sound, ((0, 0), (spare // 2, spare - spare // 2), (0, 0)))


def problem_of(file: Path, rate: int) -> DataError | None:
    """Return the error with which reading a sound fails, if it does."""
    try:
        read_sound(file, rate, MOST_SECONDS)
    except DataError as error:
        return error
    return None


class SoundSamples(SampleFiles):
    """Sounds in files."""

    def source(self, spec: SoundSpec, headers: Sequence[Header]) -> Spectrograms:
        return Spectrograms(self.files, self.labels, headers=headers, root=self.root, spec=spec)
