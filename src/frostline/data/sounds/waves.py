"""Sounds as values, for networks that hear them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from frostline.contracts.specs import WaveSpec
from frostline.contracts.tokens import Tokens
from frostline.data.modality import narrowed
from frostline.data.predicting import Opened, Predicting
from frostline.data.sounds.base import Sounds, in_tenths, usual_seconds
from frostline.data.sounds.files import Header
from frostline.data.sounds.sources import MOST_SECONDS, SoundSamples
from frostline.data.sounds.wave_sources import WaveFiles
from frostline.data.sounds.wave_views import WaveViews
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.data.views import Views
from frostline.errors import ConfigError, DataError
from frostline.faults import together

BUCKET = 4  # per second: sounds whose lengths differ by less are shuffled together


class SoundWaves(Sounds):
    """Decodes sounds once at the network's rate; batches are padded and masked.

    Raises ConfigError for settings of pictures, another rate or more seconds than the network takes."""

    spec: WaveSpec
    takes = WaveSpec

    def __init__(self, spec: WaveSpec, **settings: Any) -> None:
        super().__init__(spec, **settings)
        own = narrowed(spec, WaveSpec, self.samples, "a backbone for sounds (model=wav2vec2_base)")
        self.spec = own if self.seconds is None else own.at(self.seconds)
        self.bucket = max(spec.rate // BUCKET, 1)
        if self.image_size is not None:
            raise ConfigError(
                "this backbone hears sounds, and sees no picture of them",
                where="data.image_size",
                next_step="data.image_size=null, or a picture backbone (model=resnet50)",
            )
        if self.sample_rate not in (None, spec.rate):
            raise ConfigError(
                f"this backbone takes sounds of {spec.rate:,} values per second, not {self.sample_rate:,}",
                where="data.sample_rate",
                next_step=f"data.sample_rate={spec.rate}, or null",
            )

    def choose(self, train: Sequence[Header], target: TargetType, found: Mapping[int, SoundSamples]) -> None:
        """Raises DataError if a sound is longer than `seconds`, but its target belongs to all of it."""
        self.sample_rate = self.spec.rate
        most = self.spec.most_seconds or MOST_SECONDS
        if target.spans_sample:
            longest = in_tenths(max(header.seconds for some in self.headers.values() for header in some))
            self.seconds = self.seconds or min(longest, most)
            self._require_whole(found)
        self.seconds = self.seconds or min(usual_seconds(train), most)
        self.spec = self.spec.at(self.seconds)
        self.framed = target.spans_sample

    def _require_whole(self, found: Mapping[int, SoundSamples]) -> None:
        assert self.seconds is not None
        pairs = [pair for key, it in found.items() for pair in zip(it.files, self.headers[key], strict=True)]
        longer = {file: header.seconds for file, header in pairs if header.seconds > self.seconds}
        if not longer:
            return
        most = self.spec.most_seconds or MOST_SECONDS
        whole = in_tenths(max(longer.values()))
        step = "leave those sounds out, or cut them with their transcripts"
        raise together(
            [
                DataError(
                    f"the sound lasts {seconds:.3g} s, more than {self.seconds:.3g} s", where=file, next_step=step
                )
                for file, seconds in longer.items()
            ],
            "sounds are too long, and their targets belong to all of them",
            f"data.seconds={whole:g}" if whole <= most else step,
        )

    def source(self, samples: SoundSamples, headers: Sequence[Header]) -> WaveFiles:
        return WaveFiles(
            samples.files, samples.labels, headers=headers, root=samples.root, spec=self.spec, framed=self.framed
        )

    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> Views:
        """Raises DataError, also if a sound gives the network fewer tokens than its target needs."""
        if target.spans_sample:
            _require_tokens(splits, target, self.spec)
        return super().prepare(splits, target, names, seed)

    def views(self, target: TargetType, num_classes: int, seed: int) -> WaveViews:
        return WaveViews(self.augment, spec=self.spec, seed=seed, target=target)

    def longer(self, headers: Sequence[Header]) -> int:
        limit, rate = self.spec.limit, self.spec.rate
        return sum(limit is not None and header.values_at(rate) > limit for header in headers)

    def look(self) -> dict[str, Any]:
        return {"sound": [self.sample_rate, self.seconds]}

    def example(self, train: Split, *, longest: bool = False) -> Tokens:
        """values (1, T, 1): the whole length to which the network pads sounds, if it does."""
        assert train.lengths is not None
        length = int(train.lengths.max()) if longest else round(float(train.lengths.double().mean()))
        length = length if self.spec.tokens is None else self.spec.tokens * self.spec.hop
        return Tokens(torch.zeros(1, length, 1), torch.ones(1, length, dtype=torch.bool))

    def size_of(self, train: Split) -> str:
        assert train.lengths is not None
        seconds = train.lengths.double() / self.spec.rate
        return f"{seconds.mean():.3g} s in the mean, {seconds.max():.3g} s in the longest, at {self.spec.rate:,} Hz"

    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        from frostline.data.sounds.wave_predicting import WavePredicting  # imports pyarrow, which no training needs

        return WavePredicting(run, self.spec, framed=target.spans_sample)


def _require_tokens(splits: Mapping[str, Split], target: TargetType, spec: WaveSpec) -> None:
    """Raises DataError that names the sounds whose targets are too long for them."""
    errors = []
    for split in splits.values():
        assert split.lengths is not None
        tokens, needed = spec.tokens_of(split.lengths), target.least_tokens(split.labels)
        for place in (needed > tokens).nonzero().flatten().tolist():
            errors.append(
                DataError(
                    f"the transcript needs {int(needed[place])} tokens of the network, but a sound of "
                    f"{int(split.lengths[place]) / spec.rate:.3g} s gives {int(tokens[place])}",
                    where=split.source.name_of(int(split.index[place])),
                    next_step="correct the transcript or the sound, or drop the line",
                )
            )
    if errors:
        raise together(errors, "transcripts are longer than their sounds")
