"""Predict sounds in files or in memory. Shapes: T values of a sound."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frostline.data.files.predicting import FilePredicting
from frostline.data.pictures.to_predict import BROKEN, PictureFiles
from frostline.data.predicting import Opened, Prediction, cells
from frostline.data.sounds.files import SOUNDS, header_of, read_sound, resampled
from frostline.data.sounds.sources import MOST_SECONDS, Spectrograms, as_picture, problem_of
from frostline.data.sounds.spectrogram import SoundSpec, frames_of
from frostline.data.sounds.views import Spectrum
from frostline.errors import DataError, counted
from frostline.paths import at_home


class Recording(NamedTuple):
    """A sound in memory: (T,) or (T, channels) values, `rate` of them per second."""

    values: np.ndarray
    rate: int


class ReadableSounds(Spectrograms):
    """Sounds in files or in memory. An unreadable one becomes silence with the label BROKEN, so that the others are
    still predicted."""

    def __init__(self, sounds: Sequence[Path | Recording], *, root: Path, spec: SoundSpec) -> None:
        files = [it if isinstance(it, Path) else Path() for it in sounds]
        labels = torch.zeros(len(files), dtype=torch.long)
        super().__init__(files, labels, headers=(), root=root, spec=spec)
        self.sounds = sounds

    def _read(self, place: int) -> Tensor:
        sound = self.sounds[place]
        try:
            if isinstance(sound, Path):
                values = read_sound(sound, self.spec.rate, MOST_SECONDS)
            else:
                values = resampled(sound.values, sound.rate, self.spec.rate, f"sample {place}")
        except DataError:
            self.labels[place] = BROKEN
            values = torch.zeros(1)
        return as_picture(values, self.spec)


class SoundPredicting(FilePredicting):
    """spec: of the network's input."""

    kind = SOUNDS
    samples = "sounds"

    def __init__(self, run: Opened, spec: SoundSpec) -> None:
        super().__init__(run)
        self.spec = spec

    def values(self, files: Sequence[Path], *, root: Path, batch_size: int) -> tuple[dict[int, Tensor], set[int]]:
        self._tell_of_longer(files)
        return self._values(files, root=root, batch_size=batch_size)

    def problem_of(self, file: Path) -> DataError | None:
        return problem_of(file, self.spec.rate)

    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        sounds = [as_sound(sample, f"sample {start + place}") for place, sample in enumerate(samples)]
        rows, broken = self._values(sounds, root=Path(), batch_size=batch_size)
        for place in sorted(broken):
            raise self._problem(sounds[place], f"sample {start + place}")
        return [Prediction(cells(self.run.task.columns([row], top_k)), row) for row in rows.values()]

    def _values(
        self, sounds: Sequence[Path | Recording], *, root: Path, batch_size: int
    ) -> tuple[dict[int, Tensor], set[int]]:
        """Decode in this process: a sound takes milliseconds."""
        source = ReadableSounds(sounds, root=root, spec=self.spec)
        data = PictureFiles(source, Spectrum(self.spec), batch_size=batch_size, num_workers=0)
        each = [*self.run.predictions(data)]
        broken = {place for place, whole in enumerate(data.whole) if not whole}
        return {place: row for place, row in enumerate(each) if place not in broken}, broken

    def _tell_of_longer(self, files: Sequence[Path]) -> None:
        rate = self.spec.rate
        longer = sum(frames_of(values_at(file, rate), rate) > self.spec.frames for file in files)
        if longer:
            are = counted(longer, "sound is", "sounds are")
            print(f"frostline: {are} longer than {self.spec.seconds:.3g} s: the middle is predicted", file=sys.stderr)

    def _problem(self, sound: Path | Recording, where: str) -> DataError:
        error = problem_of(sound, self.spec.rate) if isinstance(sound, Path) else None
        name = f"{sound} ({where})" if isinstance(sound, Path) else where
        what = error.what if error is not None else "the sound has values that are no numbers"
        return DataError(what, where=name, next_step="repair it, or leave it out")


def values_at(file: Path, rate: int) -> int:
    """Values of a sound at `rate` per second; 0 for a file that cannot be read: the prediction reports it."""
    try:
        return header_of(file).values_at(rate)
    except DataError:
        return 0


def _as_floats(values: np.ndarray) -> np.ndarray:
    """Scale whole numbers to -1..1; unsigned ones have their silence in the middle of their range."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    half = (float(np.iinfo(values.dtype).max) + 1) / (2 if values.dtype.kind == "u" else 1)
    return ((values.astype(np.float64) - (half if values.dtype.kind == "u" else 0)) / half).astype(np.float32)


def as_sound(sample: Any, where: str) -> Path | Recording:
    """Convert a sample to a path or a Recording. sample: a path, or a pair of values (T,) or (T, channels) and their
    number per second. Raises DataError at `where` if it is neither."""
    if isinstance(sample, str | os.PathLike):
        file = at_home(os.fspath(sample))
        if not file.is_file():
            raise DataError("there is no such sound", where=f"{file} ({where})", next_step="correct the path")
        return file
    values, rate = sample if isinstance(sample, tuple) and len(sample) == 2 else (None, None)
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    per_second = int(rate) if isinstance(rate, int | np.integer) and rate is not True else 0
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and per_second > 0 and values.size:
        if values.ndim == 2 and values.shape[0] < values.shape[1]:
            raise DataError(
                f"this sound has {values.shape[1]:,} channels of {values.shape[0]:,} values",
                where=where,
                next_step="transpose it: values are (T, channels)",
            )
        if values.ndim in (1, 2):
            floats = _as_floats(values)
            return Recording(floats if values.ndim == 1 else floats.mean(1), per_second)
    raise DataError(
        f"this is not a sound: a {type(sample).__name__}",
        where=where,
        next_step="pass a path, or a pair (values, rate): an array (T,) or (T, channels) and its values per second",
    )
