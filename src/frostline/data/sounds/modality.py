"""The modality of sounds: decode them once, and show their spectrograms to a picture network."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from frostline.config.ranges import NonNegative, Positive
from frostline.contracts.specs import ImageSpec, Spec
from frostline.data.modality import Given, Modality, narrowed
from frostline.data.pictures.repeats import picture_repeats
from frostline.data.pictures.sources import keep_or_hold
from frostline.data.predicting import Opened, Predicting
from frostline.data.sounds.files import SOUNDS, Header, header_of
from frostline.data.sounds.sources import MOST_SECONDS, Spectrograms
from frostline.data.sounds.spectrogram import SoundSpec, fourier_size, frames_of, sound_spec
from frostline.data.sounds.views import SoundViews
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, counted, few
from frostline.faults import at_once

MOST_RATE = 16_000  # values per second, if the setting is null: speech and most sounds lie below 8 kHz
RATES = 2_000, 192_000  # smallest and largest values per second
USUAL_SECONDS = 10.0  # at most, if the setting is null
COVERED = 0.95  # share of the training sounds that fit into the length that is then chosen


class SoundModality(Modality):
    """Serves what a reader of sounds found (`SoundSamples` per split). The settings are explained in
    conf/data/_sound.yaml.

    Raises ConfigError for a backbone that does not take pictures, DataError for sounds whose header cannot be read."""

    spec: ImageSpec
    samples = "sounds"
    plainly = "sounds without augmentation"
    kept_as: ClassVar[Literal["decoded"]] = "decoded"

    def __init__(
        self,
        spec: Spec,
        *,
        image_size: Positive[int] | None,
        seconds: Positive[float] | None,
        sample_rate: Positive[int] | None,
        mels: Positive[int],
        augment: Literal["none", "standard", "strong"],
        num_workers: NonNegative[int] | None,
    ) -> None:
        step = "a picture backbone (model=resnet50), or text data (data=text_csv)"
        self.spec = narrowed(spec, ImageSpec, self.samples, step).at(image_size)
        self.seconds = seconds
        self.sample_rate = sample_rate
        self.mels = mels
        self.augment = augment
        self.num_workers = num_workers
        if sample_rate is not None and not RATES[0] <= sample_rate <= RATES[1]:
            raise ConfigError(
                f"sounds have {RATES[0]:,} to {RATES[1]:,} values per second, not {sample_rate:,}",
                where="data.sample_rate",
                next_step=f"data.sample_rate={min(max(sample_rate, RATES[0]), RATES[1])}, or null",
            )
        if seconds is not None and seconds > MOST_SECONDS:
            raise ConfigError(
                f"the network sees at most {MOST_SECONDS} s of a sound, not {seconds:g}",
                where="data.seconds",
                next_step="data.seconds=10, or null",
            )
        if seconds is not None and sample_rate is not None:
            self._set_spec(sample_rate, seconds)

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

    def read(self, given: Given) -> None:
        found = {id(it): it for it in given.samples if it is not None}
        self.headers = {key: at_once(header_of, it.files, "sounds cannot be read") for key, it in found.items()}
        train = self.headers[id(given.samples[0])]
        self.sample_rate = self.sample_rate or _usual_rate(train)
        self.seconds = self.seconds or _usual_seconds(train)
        self._set_spec(self.sample_rate, self.seconds)
        self.read_notes, self._name, self._cache = given.notes, given.name, given.cache
        made = {key: it.source(self.spec, self.headers[key]) for key, it in found.items()}
        first, val, test = (None if it is None else made[id(it)] for it in given.samples)
        assert first is not None
        self.sources = first, val, test

    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> SoundViews:
        keep_or_hold([split.source for split in splits.values()], self._cache, self._name)
        assert isinstance(self.spec, SoundSpec)
        return SoundViews(self.augment, spec=self.spec, seed=seed, target=target, num_classes=len(names))

    def look(self) -> dict[str, Any]:
        return {"image_size": self.spec.size, "sound": [self.sample_rate, self.seconds, self.mels]}

    def example(self, train: Split, *, longest: bool = False) -> Tensor:
        """(1, 3, H, W): all inputs have one size."""
        return torch.zeros(1, 3, *self.spec.sides).contiguous(memory_format=torch.channels_last)

    def size_of(self, train: Split) -> str:
        assert isinstance(self.spec, SoundSpec)
        height, width = self.spec.sides
        return f"{self.spec.seconds:.3g} s at {self.spec.rate:,} Hz, seen as {height} × {width} pixels"

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        """On sounds that are resampled, mixed to one channel, cut or silent."""
        assert self.seconds is not None
        headers = [header for some in self.headers.values() for header in some]
        said = []
        rates = Counter(header.rate for header in headers if header.rate != self.sample_rate)
        if rates:
            each = few([f"{number:,} of {rate:,} Hz" for rate, number in rates.most_common()])
            said.append(f"sounds that are resampled to {self.sample_rate:,} Hz: {each}")
        several = sum(header.channels > 1 for header in headers)
        if several:
            said.append(f"{counted(several, 'sound has', 'sounds have')} several channels, of which the mean is used")
        assert isinstance(self.spec, SoundSpec)
        rate = self.spec.rate
        longer = sum(frames_of(header.values_at(rate), rate) > self.spec.frames for header in headers)
        if longer:
            number = counted(longer, "sound is", "sounds are")
            said.append(
                f"{number} longer than {self.seconds:.3g} s (data.seconds): training uses a random part, evaluation "
                "the middle"
            )
        sources = {id(split.source): split.source for split in splits.values()}.values()
        silent = [name for source in sources if isinstance(source, Spectrograms) for name in source.silent()]
        if silent:
            said.append(f"{counted(len(silent), 'sound is', 'sounds are')} silent: {few(silent)}")
        return [*said, *picture_repeats(splits).told(SOUNDS), *self.read_notes]

    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        from frostline.data.sounds.predicting import SoundPredicting  # imports pyarrow, which no training needs

        assert isinstance(self.spec, SoundSpec)
        return SoundPredicting(run, self.spec)

    def chosen(self) -> dict[str, Any]:
        return {"data.seconds": self.seconds, "data.sample_rate": self.sample_rate}


def _usual_rate(headers: Sequence[Header]) -> int:
    """The most frequent rate, the lower one of equally frequent ones, but at most MOST_RATE."""
    counts = Counter(header.rate for header in headers)
    return min(min(counts, key=lambda rate: (-counts[rate], rate)), MOST_RATE)


def _usual_seconds(headers: Sequence[Header]) -> float:
    """The length into which COVERED of the sounds fit, in steps of 0.1 s, but at most USUAL_SECONDS."""
    lengths = sorted(header.seconds for header in headers)
    length = lengths[math.ceil(COVERED * len(lengths)) - 1]
    return min(math.ceil(round(length * 10, 6)) / 10, USUAL_SECONDS)
