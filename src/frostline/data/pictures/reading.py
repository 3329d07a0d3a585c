"""Read a picture of any mode from a file, turn it upright and resize it."""

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
from frostline.data.pictures.dicom import register, shown
from frostline.data.pictures.files import UNREADABLE, room_for
from frostline.data.pictures.grey import DEEP, Range, to_eight_bits
from frostline.errors import DataError

MAX_ASPECT = 2  # of a stored picture; a longer one loses both ends, also in training views
FIRST_ASPECT = 10 * MAX_ASPECT  # cropped to before resizing: a line of pixels would be enlarged beyond memory
ORIENTATION = 0x0112  # EXIF
register()  # before anything asks Pillow for its suffixes
Box = tuple[int, int, int, int]  # left, top, right and bottom, in pixels


@contextmanager
def named(file: object) -> Iterator[None]:
    """Convert Pillow's exceptions into DataError with the file's name."""
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
    """Return (3, H, W) uint8, upright, with a shorter side of `spec.resize` pixels, or the sides `spec.stretched`.
    encoded: the file's bytes, if they were read before. grey: see `to_rgb`. box: part of the upright picture to use.

    Raises DataError."""
    with named(file), Image.open(file if encoded is None else BytesIO(encoded)) as opened:
        return resized(opened, spec, grey, box)


def resized(opened: Image.Image, spec: ImageSpec, grey: Range | None = None, box: Box | None = None) -> Tensor:
    """`read_picture` for an open picture. Raises Pillow's exceptions if its pixels cannot be decoded."""
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
    """Width and height of the upright picture in pixels, from the header alone. Raises DataError."""
    with named(file), Image.open(file) as opened:
        return upright_size_of(opened)


def upright_size_of(opened: Image.Image) -> tuple[int, int]:
    width, height = opened.size
    turned = opened.getexif().get(ORIENTATION, 1) in range(5, 9)  # EXIF 2.3: orientations that swap rows and columns
    return (height, width) if turned else (width, height)


def problem_of(file: Path, spec: ImageSpec) -> DataError | None:
    """Return the error with which reading a picture fails, if it does."""
    try:
        read_picture(file, spec)
    except DataError as error:
        return error
    return None


def resized_size(size: tuple[int, int], resize: int) -> tuple[int, int]:
    """Sides, shorter one first, to which `read_picture` resizes a picture of that size in either orientation."""
    short, long = min(size), max(size)
    long = min(long, FIRST_ASPECT * short)
    return resize, min(int(resize * long / short), MAX_ASPECT * resize)  # rounded as in torchvision


def _at_most(picture: Image.Image, aspect: int) -> Image.Image:
    """Crop the middle of a picture if its longer side exceeds `aspect` times the shorter one."""
    longest = aspect * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    cut: Image.Image = F.center_crop(picture, [min(side, longest) for side in reversed(picture.size)])
    return cut


def to_rgb(picture: Image.Image, grey: Range | None = None) -> Image.Image:
    """Convert any mode of Pillow to RGB: grey of more than 8 bits is scaled by `to_eight_bits` with the range `grey`;
    transparent parts become white."""
    dicom = shown(picture, grey)
    if dicom is not None:
        return Image.fromarray(dicom).convert("RGB")
    if picture.mode.startswith(DEEP):
        return Image.fromarray(to_eight_bits(np.asarray(picture), picture.mode, grey)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")
