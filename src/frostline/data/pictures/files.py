"""The files that Pillow opens, and how they fail."""

import struct
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import Lock
from typing import Any

from PIL import Image, UnidentifiedImageError

from frostline.data.files.kind import FileKind

# Pillow registers suffixes of these formats, but cannot decode them without libraries that it does not ship.
STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS"}
# Pillow's exceptions for broken files. The last two come from EXIF entries of a wrong type, which Pillow rewrites when
# it rotates a picture.
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error,
              TypeError)  # fmt: skip
LARGE = 25_000_000  # pixels; larger pictures are decoded one at a time, because they take up to 16 bytes a pixel
ALONE = Lock()


@cache
def suffixes() -> frozenset[str]:
    """Lower-case suffixes of all formats that Pillow opens."""
    known = Image.registered_extensions()  # loads Pillow's plugins
    return frozenset(suffix for suffix, form in known.items() if form in Image.OPEN and form not in STUBS)


def room_for(picture: Image.Image) -> AbstractContextManager[Any]:
    """A context to decode a picture in: a lock if it is LARGE."""
    return ALONE if picture.width * picture.height > LARGE else nullcontext()


DICOM = "DICOM"  # Pillow's name of the format, which dicom.py registers
FRAMES = "frostline frames"  # entry of `Image.info`: number of frames
PICTURES = FileKind("picture", "pictures", (".jpg", ".png", ".webp", ".tif", ".bmp"), suffixes, ("image",))
