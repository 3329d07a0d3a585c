"""What a backbone expects of its input."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from frostline.contracts.tokens import Tokens
from frostline.errors import ConfigError

MOST_PIXELS = 4096


@dataclass(frozen=True)
class Spec(ABC):
    """kind: what messages call one input. ragged: whether inputs are `Tokens` of different lengths."""

    kind: ClassVar[str]
    ragged: ClassVar[bool]

    @abstractmethod
    def example(self) -> Tensor | Tokens:
        """Return a small input (1, ...) that the backbone takes."""


@dataclass(frozen=True)
class ImageSpec(Spec):
    """A picture is resized so that its shorter side is `resize`, centre-cropped to `size` × `size`, and normalised.

    Sides in pixels; mean and std per channel (RGB), of values in 0..1. `stretched`: height and width to which whole
    pictures are resized without a crop; None: `resize` and `size` apply.
    `sizes`: the sizes that the network takes, `any` from `min_size` up, or `fixed` (position table of a transformer).
    """

    size: int
    resize: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    min_size: int = 1
    sizes: Literal["any", "fixed"] = "any"
    stretched: tuple[int, int] | None = None

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.stretched or (self.size, self.size)

    kind = "picture"
    ragged = False

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
