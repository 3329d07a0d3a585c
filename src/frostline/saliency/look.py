"""What is shown of a sample beside itself. Imports no torch, as pages read it."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Word(NamedTuple):
    """text: index of its text in a pair. start, end: its characters. share: in the score; negative: against it."""

    text: int
    start: int
    end: int
    share: float


class Look(NamedTuple):
    """A sample, with what is known of it beside itself. picture: as the network saw it, or with predictions drawn on
    it; None of a text. heat: what speaks for the answer, as a transparent picture that lies on it; None without. where:
    most of it, in words. truth: the picture with its targets drawn on it. words: of a text, with their shares."""

    picture: Any = None
    heat: Any = None
    where: str = ""
    truth: Any = None
    words: Sequence[Word] = ()


def picture_of(pixels: Any) -> Any:
    """pixels: uint8 (3, H, W), with `permute` and `numpy` as tensors have. A picture of Pillow."""
    from PIL import Image

    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
