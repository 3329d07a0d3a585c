"""One picture from a file, of any mode, turned upright and resized."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.files import UNREADABLE, room_for
from frostline.data.pictures.grey import DEEP, Range, to_eight_bits
from frostline.errors import DataError

MAX_ASPECT = 2  # of a stored picture; a longer one loses its two ends in training views
FIRST_ASPECT = 10 * MAX_ASPECT  # of one that is resized: a thread of pixels would grow beyond memory
ORIENTATION = 0x0112  # EXIF
Box = tuple[int, int, int, int]  # left, top, right and bottom, in pixels


@contextmanager
def named(file: object) -> Iterator[None]:
    """Raises DataError with the file's name where it cannot be read as a picture."""
    try:
        yield
    except UNREADABLE as error:
        raise DataError(
            f"a picture does not decode: {error}", where=file, next_step="repair or remove that file"
        ) from error


def read_picture(
    file: Path,
    spec: ImageSpec,
    encoded: bytes | None = None,
    grey: Range | None = None,
    box: Box | None = None,
) -> Tensor:
    """(3, H, W) uint8, upright, its shorter side `spec.resize` pixels long, or `spec.stretched`. encoded: what the file
    holds, if it was read already. grey: see `to_rgb`. box: the part of the upright picture that is read.

    Raises DataError."""
    with named(file), Image.open(file if encoded is None else BytesIO(encoded)) as opened:
        return resized(opened, spec, grey, box)


def resized(opened: Image.Image, spec: ImageSpec, grey: Range | None = None, box: Box | None = None) -> Tensor:
    """As `read_picture`, of a picture that is open. Raises what Pillow does where its pixels cannot be decoded."""
    with room_for(opened):
        picture = to_rgb(ImageOps.exif_transpose(opened), grey)
    picture = picture if box is None else picture.crop(box)
    if spec.stretched is not None:
        return F.pil_to_tensor(F.resize(picture, list(spec.stretched), InterpolationMode(spec.interpolation)))
    picture = _at_most(picture, FIRST_ASPECT)
    picture = F.resize(picture, [spec.resize], InterpolationMode(spec.interpolation))
    picture = _at_most(picture, MAX_ASPECT)
    return F.pil_to_tensor(picture)


def upright_size(file: Path) -> tuple[int, int]:
    """Width and height in pixels, without decoding the pixels. Raises DataError."""
    with named(file), Image.open(file) as opened:
        return upright_size_of(opened)


def upright_size_of(opened: Image.Image) -> tuple[int, int]:
    width, height = opened.size
    turned = opened.getexif().get(ORIENTATION, 1) in range(5, 9)  # EXIF 2.3: rows and columns are exchanged
    return (height, width) if turned else (width, height)


def problem_of(file: Path, spec: ImageSpec) -> DataError | None:
    """Why a file cannot be read as a picture."""
    try:
        read_picture(file, spec)
    except DataError as error:
        return error
    return None


def resized_size(size: tuple[int, int], resize: int) -> tuple[int, int]:
    """The sides, shorter one first, that `read_picture` gives a picture of that size, whichever way it stands."""
    short, long = min(size), max(size)
    long = min(long, FIRST_ASPECT * short)
    return resize, min(int(resize * long / short), MAX_ASPECT * resize)  # rounded as torchvision does


def _at_most(picture: Image.Image, aspect: int) -> Image.Image:
    """The middle of a picture that is longer than `aspect` times its shorter side."""
    longest = aspect * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    cut: Image.Image = F.center_crop(picture, [min(side, longest) for side in reversed(picture.size)])
    return cut


def to_rgb(picture: Image.Image, grey: Range | None = None) -> Image.Image:
    """Any mode of Pillow as RGB: grey of more than 8 bits as `to_eight_bits` scales it, transparent parts are laid on
    white."""
    if picture.mode.startswith(DEEP):
        return Image.fromarray(to_eight_bits(np.asarray(picture), picture.mode, grey)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")
