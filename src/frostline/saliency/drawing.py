"""Draw a map over the picture that the network saw. Shapes: maps (H, W); pictures uint8 (3, H, W)."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

LEAST = 448  # pixels that the shorter side of a drawn picture has at least
OPAQUE = 0.75  # of the strongest cell; the picture stays visible below
COARSE, WEAK = 4, 0.4  # the same of a map with fewer cells a side than this, which would cover the picture
# From weak to strong, in equal steps of lightness, so that it is read without colours too.
RAMP = ((190, 30, 60), (225, 70, 30), (245, 120, 20), (252, 180, 40), (255, 235, 120))


def strengths(cells: Tensor) -> Tensor:
    """(H, W) from 0 to 1: what speaks for the answer, as a share of the strongest cell. All 0 if nothing does."""
    positive = cells.float().clamp(min=0)
    return positive / positive.max().clamp(min=torch.finfo(torch.float32).tiny)


def heat(cells: Tensor, sides: tuple[int, int]) -> Image.Image:
    """RGBA of `sides` (height, width): transparent where nothing speaks for the answer."""
    smooth = interpolate(strengths(cells)[None, None], sides, mode="bicubic", align_corners=False).clamp(0, 1)
    strength = smooth[0, 0].cpu().numpy()
    places = np.linspace(0, 1, len(RAMP))
    colours = [np.interp(strength, places, [colour[channel] for colour in RAMP]) for channel in range(3)]
    opaque = WEAK if min(cells.shape) < COARSE else OPAQUE
    return Image.fromarray(np.stack([*colours, opaque * 255 * strength], -1).round().astype(np.uint8))


def explained(pixels: Tensor, cells: Tensor) -> bytes:
    """A PNG: the picture, and beside it the same in grey below the map."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())
    times = -(-LEAST // min(picture.size))
    size = (picture.width * times, picture.height * times)
    picture = picture.resize(size, Image.Resampling.NEAREST if times > 4 else Image.Resampling.BICUBIC)
    gap = max(4, size[0] // 56)
    both = Image.new("RGB", (2 * size[0] + gap, size[1]), "white")
    both.paste(picture, (0, 0))
    below = picture.convert("L").convert("RGBA")
    both.paste(Image.alpha_composite(below, heat(cells, (size[1], size[0]))).convert("RGB"), (size[0] + gap, 0))
    with io.BytesIO() as file:
        both.save(file, format="PNG")
        return file.getvalue()


def where(cells: Tensor) -> str:
    """In words, which ninth of the picture holds most of what speaks for the answer."""
    ninths = interpolate(strengths(cells)[None, None], (3, 3), mode="area")[0, 0]
    if not float(ninths.max()):
        return "nowhere"
    row, column = divmod(int(ninths.argmax()), 3)
    vertical, horizontal = ("top", "", "bottom")[row], ("left", "", "right")[column]
    return " ".join(word for word in (vertical, horizontal) if word) or "centre"
