"""Predict sounds in files or in memory with networks that hear their values."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.contracts.batch import Batch
from frostline.contracts.specs import WaveSpec
from frostline.contracts.tokens import Tokens, padded
from frostline.data.loader import EpochBatches
from frostline.data.predicting import Opened
from frostline.data.sounds.files import read_sound, resampled
from frostline.data.sounds.predicting import Recording, SoundPredicting, values_at
from frostline.data.sounds.sources import MOST_SECONDS
from frostline.data.sounds.wave_sources import fitted, middle
from frostline.data.split import Transfers, loader
from frostline.errors import DataError, counted


class ReadableWaves(torch.utils.data.Dataset[Batch]):
    """Sounds in files or in memory. An unreadable one becomes silence, so that the others are still predicted.

    broken: the places of these, once they were loaded. framed: whether targets are the numbers of tokens."""

    def __init__(self, sounds: Sequence[Path | Recording], *, spec: WaveSpec, framed: bool) -> None:
        self.sounds = sounds
        self.spec = spec
        self.framed = framed
        self.broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, place: int) -> Batch:
        return self.__getitems__([place])

    def __getitems__(self, places: list[int]) -> Batch:
        waves = [self._read(place) for place in places]
        lengths = torch.tensor([len(wave) for wave in waves])
        targets = self.spec.tokens_of(lengths)[:, None] if self.framed else torch.zeros_like(lengths)
        inputs: Tokens = padded([wave[:, None] for wave in waves])
        return Batch(inputs, targets, torch.tensor(places))

    def _read(self, place: int) -> Tensor:
        sound, rate = self.sounds[place], self.spec.rate
        try:
            if isinstance(sound, Path):
                wave = read_sound(sound, rate, MOST_SECONDS)
            else:
                wave = resampled(sound.values, sound.rate, rate, f"sample {place}")
        except DataError:
            self.broken.add(place)
            wave = torch.zeros(1)
        return middle(fitted(wave, self.spec), self.spec.limit)


class WaveLoader(Transfers):
    def __init__(self, waves: ReadableWaves, batch_size: int) -> None:
        super().__init__()
        self.waves = waves
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        return loader(self.waves, EpochBatches(len(self.waves), self.batch_size, shuffle=False, seed=0), 0)


class WavePredicting(SoundPredicting):
    """framed: whether the task needs the number of tokens. Of a sound that is longer than in training, the middle is
    predicted, unless the task spans it and the network takes it."""

    spec: WaveSpec  # type: ignore[assignment]

    def __init__(self, run: Opened, spec: WaveSpec, *, framed: bool) -> None:
        seconds = (spec.most_seconds or MOST_SECONDS) if framed else spec.seconds
        super().__init__(run, spec if seconds is None else spec.at(seconds))  # type: ignore[arg-type]
        self.framed = framed

    def _values(
        self, sounds: Sequence[Path | Recording], *, root: Path, batch_size: int
    ) -> tuple[dict[int, Tensor], set[int]]:
        waves = ReadableWaves(sounds, spec=self.spec, framed=self.framed)
        rows = [*self.run.predictions(WaveLoader(waves, batch_size))]
        return {place: row for place, row in enumerate(rows) if place not in waves.broken}, waves.broken

    def _tell_of_longer(self, files: Sequence[Path]) -> None:
        limit, rate = self.spec.limit, self.spec.rate
        longer = sum(limit is not None and values_at(file, rate) > limit for file in files)
        if longer:
            are = counted(longer, "sound is", "sounds are")
            print(f"frostline: {are} longer than {self.spec.seconds:.3g} s: the middle is predicted", file=sys.stderr)
