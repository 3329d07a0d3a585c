"""What a backbone expects of its input."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from frostline.contracts.tokens import Tokens
from frostline.contracts.tree import Value
from frostline.errors import ConfigError

MOST_PIXELS = 4096


@dataclass(frozen=True)
class Spec(ABC):
    """kind: what messages call one input. ragged: whether inputs are `Tokens` of different lengths. explainer: dotted
    name of the class that explains answers for such inputs (saliency/explainer.py); "" if none does. instead: what a
    user may do then."""

    kind: ClassVar[str]
    ragged: ClassVar[bool]
    explainer: ClassVar[str] = ""
    instead: ClassVar[str] = "explain a run whose network takes pictures (model=efficientnet_lite0)"

    @abstractmethod
    def example(self) -> Value:
        """Return a small input (1, ...) that the backbone takes."""

    @property
    def most_tokens(self) -> int | None:
        """Most tokens between blocks; None without a limit."""
        return None

    @property
    def values_per_token(self) -> int:
        """Values of an input for each token that the first block returns. Only if `ragged`."""
        return 1

    def tokens_of(self, lengths: Tensor) -> Tensor:
        """(N,) lengths of inputs → (N,) tokens that the first block returns for them. Only if `ragged`."""
        return lengths


@dataclass(frozen=True)
class ImageSpec(Spec):
    """A picture is resized so that its shorter side is `resize`, centre-cropped to `size` × `size`, and normalised.

    Sides in pixels; mean and std per channel (RGB), of values in 0..1. `stretched`: height and width to which whole
    pictures are resized without a crop; None: `resize` and `size` apply.
    `sizes`: the sizes that the network takes: `any` from `min_size` up, `square` ones alone, or `fixed` (position table
    of a transformer). `multiple`: of which the sides of whole pictures are one; most networks halve them five times.
    """

    size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    min_size: int = 1
    sizes: Literal["any", "square", "fixed"] = "any"
    stretched: tuple[int, int] | None = None
    multiple: int = 32

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.stretched or (self.size, self.size)

    kind = "picture"
    ragged = False
    explainer = "frostline.saliency.explain_pictures.PictureExplainer"

    def example(self) -> Tensor:
        """(1, 3, H, W) zeros."""
        return torch.zeros(1, 3, *self.sides)

    def at(self, image_size: int | None) -> "ImageSpec":
        """The spec with `size` and `resize` set to `image_size`: the crop cuts only the longer side. `None` leaves the
        spec unchanged.

        Raises ConfigError if the network does not take that size, or if it exceeds MOST_PIXELS.
        """
        if image_size is None or (image_size == self.size and self.sizes == "fixed"):
            return self
        if self.sizes == "fixed":
            raise ConfigError(
                f"this backbone takes pictures of {self.size} pixels only, not {image_size}",
                where="data.image_size",
                next_step=f"data.image_size={self.size}, or leave it null",
            )
        if image_size < self.min_size:
            raise ConfigError(
                f"this backbone needs pictures of at least {self.min_size} pixels, not {image_size}",
                where="data.image_size",
                next_step=f"data.image_size={self.min_size} or more",
            )
        if image_size > MOST_PIXELS:
            raise ConfigError(
                f"pictures of {image_size} pixels a side do not fit into memory as a batch",
                where="data.image_size",
                next_step=f"data.image_size={MOST_PIXELS} or less",
            )
        return replace(self, size=image_size, resize=image_size)


FEWEST_TOKENS = 8  # smallest max_length: special tokens take up to four


@dataclass(frozen=True)
class TextSpec(Spec):
    """`tokenizer`: a name or folder that transformers can load. `max_length`: most tokens of a text, special ones
    included; longer texts are cut. `remote_code`: whether Python code in the tokenizer's folder may run.
    """

    tokenizer: str
    max_length: int
    remote_code: bool = False

    kind = "text"
    ragged = True
    explainer = "frostline.saliency.explain_texts.TextExplainer"

    @property
    def most_tokens(self) -> int:
        return self.max_length

    def example(self) -> Tokens:
        """values (1, 2, 2)."""
        return Tokens(torch.zeros(1, 2, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool))

    def at(self, max_length: int | None) -> "TextSpec":
        """The spec with texts cut at another length. `None` leaves the spec unchanged.

        Raises ConfigError if the network does not take that length.
        """
        if max_length is None:
            return self
        if not FEWEST_TOKENS <= max_length <= self.max_length:
            raise ConfigError(
                f"this backbone takes texts of {FEWEST_TOKENS} to {self.max_length} tokens, not {max_length}",
                where="data.max_length",
                next_step=f"data.max_length=null for {self.max_length}, or a number from {FEWEST_TOKENS} to that",
            )
        return replace(self, max_length=max_length)


@dataclass(frozen=True)
class WaveSpec(Spec):
    """A sound of one channel, -1..1, `rate` values per second; the first block turns values into tokens.

    least: fewest values of an input. hop: values per token. kernels: size and stride of each convolution between values
    and tokens. tokens: their number if it is the same for every sound, because the network pads sounds to one length;
    None if it follows from `kernels`. most_seconds: of a sound that the network takes; None without a limit. seconds:
    to which sounds are cut; set by the data.
    """

    rate: int
    least: int
    hop: int
    kernels: tuple[tuple[int, int], ...] = ()
    tokens: int | None = None
    most_seconds: float | None = None
    seconds: float | None = None

    kind = "sound"
    ragged = True
    instead = (
        "explain a run whose network sees sounds as pictures: model=efficientnet_lite0 data=audio_folder "
        "data.dir=<folder>"
    )

    def example(self) -> Tokens:
        """values (1, T, 1)."""
        length = max(self.least, self.hop)
        return Tokens(torch.zeros(1, length, 1), torch.ones(1, length, dtype=torch.bool))

    @property
    def values_per_token(self) -> int:
        return self.hop

    def tokens_of(self, lengths: Tensor) -> Tensor:
        """At least 1, also for inputs that are too short for the convolutions."""
        if self.tokens is not None:
            return torch.full_like(lengths, self.tokens)
        for kernel, stride in self.kernels:
            lengths = convolved(lengths, kernel, stride)
        return lengths

    @property
    def limit(self) -> int | None:
        """Most values of a sound; None without a limit."""
        return None if self.seconds is None else max(round(self.seconds * self.rate), self.least)

    def at(self, seconds: float) -> "WaveSpec":
        """The spec with sounds cut at `seconds`. Raises ConfigError if the network takes fewer."""
        if self.most_seconds is not None and seconds > self.most_seconds:
            raise ConfigError(
                f"this backbone takes at most {self.most_seconds:.4g} s of a sound, not {seconds:g}",
                where="data.seconds",
                next_step=f"data.seconds={self.most_seconds:g}, or null",
            )
        return replace(self, seconds=seconds)


@dataclass(frozen=True)
class PartsSpec(Spec):
    """Samples of several parts, each with the spec of its own network. parts: by name."""

    parts: dict[str, Spec]

    kind = "table row"
    ragged = False
    instead = (
        "see the line `adds` that the training printed (run.json: baselines): what each column adds to a simple model"
        "; or train on one column alone and explain that run: model=efficientnet_lite0 data=image_csv "
        "data.file=<table> data.path_column=<pictures> data.target_columns=[<target>]"
        "; or model=minilm data=text_csv data.train_file=<table> data.text_columns=[<texts>] "
        "data.target_columns=[<target>]"
    )

    def example(self) -> dict[str, Any]:
        """An input of each part, by name."""
        return {part: spec.example() for part, spec in self.parts.items()}


def convolved(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Lengths after a convolution without padding, at least 1."""
    return (torch.div(lengths - kernel, stride, rounding_mode="floor") + 1).clamp(min=1)
