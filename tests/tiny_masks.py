"""Small pictures with a mask each, for runs of a few seconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 48)  # width and height
PALETTE = [10, 20, 30, 220, 40, 40, 40, 220, 40, 40, 40, 220]  # the colours of the classes in the pictures, too


def save(
    folder: Path, name: str, mask: np.ndarray, *, split: str = ".", palette: bool = True, suffix: str = ""
) -> None:
    """A picture in the colours of its mask (H, W), with some noise, and the mask."""
    colours = np.array(PALETTE, np.uint8).reshape(-1, 3)
    noise = np.random.default_rng(sum(map(ord, name))).integers(0, 30, (*mask.shape, 3))
    for kind in ("images", "masks"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    pixels = (colours[mask % len(colours)] + noise).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "images" / split / f"{name}.png")
    picture = Image.fromarray(mask)
    if palette and mask.max() < len(colours):  # Pillow saves no more bits than the palette needs
        picture.putpalette(PALETTE)
    picture.save(folder / "masks" / split / f"{name}{suffix}.png")


def rectangles(number: int, values: Sequence[int] = (0, 1, 2), size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W): a background of the first value, and a rectangle of each other one."""
    generator = np.random.default_rng(number)
    width, height = size
    mask = np.full((height, width), values[0], np.uint8)
    for place, value in enumerate(values[1:]):
        left = place * width // (len(values) - 1) + int(generator.integers(0, 6))
        top = int(generator.integers(0, height // 3))
        mask[top : top + height // 2, left : left + width // (2 * len(values))] = value
    return mask


def put(folder: Path, number: int = 24, *, values: Sequence[int] = (0, 1, 2), split: str = ".", **how: object) -> Path:
    for place in range(number):
        save(folder, f"p{place:02}", rectangles(place, values), split=split, **how)  # type: ignore[arg-type]
    return folder
