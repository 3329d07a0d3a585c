"""Sounds as pictures of their spectrograms, for picture networks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.modality import narrowed
from frostline.data.predicting import Opened, Predicting
from frostline.data.sounds.base import Sounds, usual_seconds
from frostline.data.sounds.files import Header
from frostline.data.sounds.sources import SoundSamples, Spectrograms
from frostline.data.sounds.spectrogram import SoundSpec, fourier_size, frames_of, sound_spec
from frostline.data.sounds.views import SoundViews
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError

MOST_RATE = 16_000  # values per second, if the setting is null: speech and most sounds lie below 8 kHz


class SoundPictures(Sounds):
    """Decodes sounds once, and shows their spectrograms."""

    spec: ImageSpec
    takes = ImageSpec

    def __init__(self, spec: ImageSpec, **settings: Any) -> None:
        super().__init__(spec, **settings)
        self.spec = narrowed(spec, ImageSpec, self.samples, "a picture backbone (model=resnet50)").at(self.image_size)
        if self.seconds is not None and self.sample_rate is not None:
            self._set_spec(self.sample_rate, self.seconds)

    def _set_spec(self, rate: int, seconds: float) -> None:
        """Set the spec. Raises ConfigError if there are more bands than frequencies."""
        most = fourier_size(rate) // 2
        if self.mels > most:
            raise ConfigError(
                f"{self.mels:,} bands are more than the {most:,} frequencies that sounds of {rate:,} Hz have",
                where="data.mels",
                next_step=f"data.mels={min(most, 128)}",
            )
        self.spec = sound_spec(self.spec, rate=rate, mels=self.mels, frames=frames_of(round(seconds * rate), rate))

    def choose(self, train: Sequence[Header], target: TargetType, found: Mapping[int, SoundSamples]) -> None:
        self.sample_rate = self.sample_rate or _usual_rate(train)
        self.seconds = self.seconds or usual_seconds(train)
        self._set_spec(self.sample_rate, self.seconds)

    def source(self, samples: SoundSamples, headers: Sequence[Header]) -> Spectrograms:
        return samples.source(self.whole_spec, headers)

    @property
    def whole_spec(self) -> SoundSpec:
        assert isinstance(self.spec, SoundSpec)
        return self.spec

    def views(self, target: TargetType, num_classes: int, seed: int) -> SoundViews:
        return SoundViews(self.augment, spec=self.whole_spec, seed=seed, target=target, num_classes=num_classes)

    def longer(self, headers: Sequence[Header]) -> int:
        rate, frames = self.whole_spec.rate, self.whole_spec.frames
        return sum(frames_of(header.values_at(rate), rate) > frames for header in headers)

    def look(self) -> dict[str, Any]:
        return {"image_size": self.spec.size, "sound": [self.sample_rate, self.seconds, self.mels]}

    def example(self, train: Split, *, longest: bool = False) -> Tensor:
        """(1, 3, H, W): all inputs have one size."""
        return torch.zeros(1, 3, *self.spec.sides).contiguous(memory_format=torch.channels_last)

    def size_of(self, train: Split) -> str:
        spec = self.whole_spec
        height, width = spec.sides
        return f"{spec.seconds:.3g} s at {spec.rate:,} Hz, seen as {height} × {width} pixels"

    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        from frostline.data.sounds.predicting import SoundPredicting  # imports pyarrow, which no training needs

        return SoundPredicting(run, self.whole_spec)


def _usual_rate(headers: Sequence[Header]) -> int:
    """The most frequent rate, the lower one of equally frequent ones, but at most MOST_RATE."""
    counts = Counter(header.rate for header in headers)
    return min(min(counts, key=lambda rate: (-counts[rate], rate)), MOST_RATE)
