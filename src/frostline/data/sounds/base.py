"""What all ways to show sounds to a network share: settings, headers, and notes on the sounds."""

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch

from frostline.config.ranges import NonNegative, Positive
from frostline.contracts.specs import Spec
from frostline.data.modality import Given, Modality
from frostline.data.pictures.repeats import picture_repeats
from frostline.data.pictures.sources import keep_or_hold
from frostline.data.sounds.files import SOUNDS, Header, header_of
from frostline.data.sounds.sources import MOST_SECONDS, SoundFiles, SoundSamples
from frostline.data.source import ends_of
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.data.views import Views
from frostline.errors import ConfigError, counted, few
from frostline.faults import at_once

RATES = 2_000, 192_000  # smallest and largest values per second
USUAL_SECONDS = 10.0  # at most, if the setting is null
COVERED = 0.95  # share of the training sounds that fit into the length that is then chosen


class Sounds(Modality):
    """Serves what a reader of sounds found (`SoundSamples` per split). The settings are explained in
    conf/data/_sound.yaml. takes: the spec of the backbones that a subclass serves.

    Raises ConfigError for settings out of range, DataError for sounds whose header cannot be read."""

    takes: ClassVar[type[Spec]]
    samples = "sounds"
    hub_name = "audio"
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
        self.spec = spec
        self.image_size = image_size
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

    def read(self, given: Given) -> None:
        found: dict[int, SoundSamples] = {id(it): it for it in given.samples if it is not None}
        self.headers = {key: at_once(header_of, it.files, "sounds cannot be read") for key, it in found.items()}
        self.read_notes, self._name, self._cache = given.notes, given.name, given.cache
        self.first_headers = self.headers[id(given.samples[0])]  # of the source of the training split
        self.choose(self.first_headers, given.target, found)
        made = {key: self.source(it, self.headers[key]) for key, it in found.items()}
        first, val, test = (None if it is None else made[id(it)] for it in given.samples)
        assert first is not None
        self.sources = first, val, test

    @abstractmethod
    def choose(self, train: Sequence[Header], target: TargetType, found: Mapping[int, SoundSamples]) -> None:
        """Set `sample_rate`, `seconds` and `spec`. train: headers of the training sounds. found: the sounds of each
        split, by the keys of `headers`."""

    @abstractmethod
    def source(self, samples: SoundSamples, headers: Sequence[Header]) -> SoundFiles: ...

    @abstractmethod
    def views(self, target: TargetType, num_classes: int, seed: int) -> Views: ...

    @abstractmethod
    def longer(self, headers: Sequence[Header]) -> int:
        """Number of sounds of which the network sees a part."""

    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> Views:
        keep_or_hold([split.source for split in splits.values()], self._cache, self._name)
        return self.views(target, len(names), seed)

    def describe(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """Lengths of training sounds as they were found."""
        if "train" not in splits:
            return {}
        seconds = [self.first_headers[place].seconds for place in splits["train"].index.tolist()]
        return {"lengths": ends_of(torch.tensor(seconds, dtype=torch.float64), "s")}

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        """On sounds that are resampled, mixed to one channel, cut or silent."""
        assert self.seconds is not None
        headers = [header for some in self.headers.values() for header in some]
        notes = []
        rates = Counter(header.rate for header in headers if header.rate != self.sample_rate)
        if rates:
            each = few([f"{number:,} of {rate:,} Hz" for rate, number in rates.most_common()])
            notes.append(f"sounds that are resampled to {self.sample_rate:,} Hz: {each}")
        several = sum(header.channels > 1 for header in headers)
        if several:
            notes.append(f"{counted(several, 'sound has', 'sounds have')} several channels, of which the mean is used")
        if longer := self.longer(headers):
            number = counted(longer, "sound is", "sounds are")
            notes.append(
                f"{number} longer than {self.seconds:.3g} s (data.seconds): training uses a random part, evaluation "
                "the middle"
            )
        sources = {id(split.source): split.source for split in splits.values()}.values()
        silent = [name for source in sources if isinstance(source, SoundFiles) for name in source.silent()]
        if silent:
            notes.append(f"{counted(len(silent), 'sound is', 'sounds are')} silent: {few(silent)}")
        return [*notes, *picture_repeats(splits).told(SOUNDS), *self.read_notes]

    def chosen(self) -> dict[str, Any]:
        return {"data.seconds": self.seconds, "data.sample_rate": self.sample_rate}


def usual_seconds(headers: Sequence[Header]) -> float:
    """The length into which COVERED of the sounds fit, in steps of 0.1 s, but at most USUAL_SECONDS."""
    lengths = sorted(header.seconds for header in headers)
    return min(in_tenths(lengths[math.ceil(COVERED * len(lengths)) - 1]), USUAL_SECONDS)


def in_tenths(seconds: float) -> float:
    """Round up to 0.1 s."""
    return math.ceil(round(seconds * 10, 6)) / 10
