"""Pictures and their labels, as arrays in memory or as files. Shapes: N pictures, (3, H, W) uint8 each."""

import hashlib
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from frostline.errors import DataError
from frostline.specs import ImageSpec

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
# What Pillow raises on broken files; the last two on camera notes of a wrong type, which turning a picture rewrites.
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError, struct.error,
              TypeError)  # fmt: skip
UNCOMPRESSED = {".bmp", ".ppm", ".pgm", ".tif", ".tiff"}  # an edit may leave both ends of the file as they were
MAX_ASPECT = 2  # of a stored picture; a longer one loses its two ends in training views
MEMORY_BYTES = 4 * 2**30  # data sets whose decoded pictures take no more are held in memory


class Pictures(ABC):
    labels: Tensor  # (N,) int64
    cut = False  # whether `fetch` without `whole` gives pictures that are resized and cut for evaluation

    @abstractmethod
    def fetch(self, index: Sequence[int], *, whole: bool) -> tuple[Tensor, Tensor | None]:
        """Pictures (B, 3, H, W) and, where they were padded to a common size, their sizes (B, 2).

        whole: all of each picture; else what an evaluation needs, all of one size.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """The same for the same pictures, wherever they lie."""

    @property
    def in_memory(self) -> bool:
        return True


class ArrayPictures(Pictures):
    """Pictures of one size, (N, 3, H, W) uint8."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels = pixels
        self.labels = labels

    def fetch(self, index: Sequence[int], *, whole: bool) -> tuple[Tensor, Tensor | None]:
        return self.pixels[torch.as_tensor(index)], None

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(str(tuple(self.pixels.shape)).encode(), digest_size=16)
        digest.update(self.pixels.numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()


class FilePictures(Pictures):
    """Pictures in files, resized as `spec` says: decoded once and held where they fit in memory, else each time.

    root: what the fingerprint's names are relative to. Raises DataError that names a file which does not decode.
    """

    cut = True

    def __init__(self, files: Sequence[Path], labels: Tensor, *, root: Path, spec: ImageSpec) -> None:
        self.files = list(files)
        self.labels = labels
        self.root = root
        self.spec = spec
        self._decoded: list[Tensor] | None = None

    def hold(self) -> None:
        """Decode everything now, on all cores."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self._decoded = list(pool.map(self._read, self.files))

    @property
    def in_memory(self) -> bool:
        return self._decoded is not None

    @property
    def decoded_bytes(self) -> int:
        """By an estimate for pictures of aspect 4:3."""
        return len(self.files) * 3 * self.spec.resize**2 * 4 // 3

    def fetch(self, index: Sequence[int], *, whole: bool) -> tuple[Tensor, Tensor | None]:
        pictures = [self._read(self.files[i]) if self._decoded is None else self._decoded[i] for i in index]
        if whole:
            return _padded(pictures)
        return torch.stack([F.center_crop(picture, [self.spec.size]) for picture in pictures]), None

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            digest.update(f"{file.relative_to(self.root)}\0{file.stat().st_size}\0{label}\n".encode())
            digest.update(file.read_bytes() if file.suffix.lower() in UNCOMPRESSED else _ends(file))
        return digest.hexdigest()

    def _read(self, file: Path) -> Tensor:
        return read_picture(file, self.spec)


def _ends(file: Path, num_bytes: int = 2**16) -> bytes:
    """Its first and last bytes: all of a small file; of a large one what an edit of a compressed picture changes."""
    with file.open("rb") as opened:
        head = opened.read(num_bytes)
        opened.seek(max(file.stat().st_size - num_bytes, 0))
        return head + opened.read()


def read_picture(file: Path, spec: ImageSpec) -> Tensor:
    """(3, H, W) uint8, upright, its shorter side `spec.resize` pixels long. Raises DataError."""
    try:
        with Image.open(file) as opened:
            picture = to_rgb(ImageOps.exif_transpose(opened))
    except UNREADABLE as error:
        raise DataError(
            f"a picture does not decode: {error}", where=file, next_step="repair or remove that file"
        ) from error
    picture = _at_most(picture, 10 * MAX_ASPECT)  # a thread of pixels would grow beyond memory
    picture = F.resize(picture, [spec.resize], InterpolationMode(spec.interpolation))
    picture = _at_most(picture, MAX_ASPECT)
    return F.pil_to_tensor(picture)


def _at_most(picture: Image.Image, aspect: int) -> Image.Image:
    """The middle of a picture that is longer than `aspect` times its shorter side."""
    longest = aspect * min(picture.size)
    if max(picture.size) <= longest:
        return picture
    cut: Image.Image = F.center_crop(picture, [min(side, longest) for side in reversed(picture.size)])
    return cut


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode of Pillow as RGB: 16 and 32 bit grey is scaled to 8, transparent parts are laid on white."""
    if picture.mode.startswith(("I", "F")):
        return Image.fromarray(_to_eight_bits(np.asarray(picture), picture.mode)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")


def _to_eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Mode I;16 has 16 bits. Of modes I and F the values tell: 0..1 for floats, else 0..255, else 0..65535."""
    values = values.astype(np.float64)
    top = 65535.0 if mode.startswith("I;16") else values.max(initial=0.0)
    full = 1.0 if mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)


def _padded(pictures: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    if (sizes == sizes[0]).all():
        return torch.stack(pictures), None
    height, width = sizes.amax(0).tolist()
    canvas = torch.zeros(len(pictures), 3, height, width, dtype=torch.uint8)
    for slot, picture in zip(canvas, pictures, strict=True):
        slot[:, : picture.shape[1], : picture.shape[2]] = picture
    return canvas, sizes
