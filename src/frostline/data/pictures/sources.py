"""Sources of pictures: arrays in memory, or files, decoded once or on access. Shapes: N pictures, (3, H, W) uint8."""

import errno
import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.files.kind import FileKind
from frostline.data.pictures.dicom import dicom_versions
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.grey import Range
from frostline.data.pictures.packed import PackedPictures, centres, packed, packed_bytes, padded
from frostline.data.pictures.reading import Box, named, problem_of, read_picture, resized_size, upright_size
from frostline.data.sample_cache import Decoder, SampleCache
from frostline.data.source import Source
from frostline.errors import DataError
from frostline.faults import together
from frostline.storage.entry import Entry

DIGEST = 16  # bytes
SKETCH = 8  # a sketch has every eighth row and column
MEMORY_BYTES = 4 * 2**30  # decoded pictures of a data set are held in memory if they take no more


class Pictures(Source):
    """`fetch` returns (B, 3, H, W)."""

    cut = False  # whether `fetch(whole=False)` returns pictures resized and cropped for evaluation

    @abstractmethod
    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tensor, Tensor | None]: ...

    @abstractmethod
    def sketch(self, index: int) -> bytes:
        """A cheap digest, equal for equal pixels and rarely equal for others. Only if `in_memory`."""

    @abstractmethod
    def pixel_digest(self, index: int) -> bytes:
        """Digest of decoded pixels. Only if `in_memory`."""

    @abstractmethod
    def byte_digest(self, index: int) -> bytes:
        """Digest of a file's bytes, or of the pixels of a picture without a file."""

    @abstractmethod
    def size_of(self, index: int) -> tuple[int, int]:
        """Width and height of the upright picture in pixels, as it was found. Raises DataError."""

    def digests(self, index: Tensor) -> list[bytes]:
        return [self.byte_digest(place) for place in index.tolist()]

    def name_of(self, index: int) -> str:
        return f"picture {index + 1}"

    def notes(self) -> list[str]:
        """Sentences for the user about the samples at the network's size."""
        return []

    def decoding(self) -> dict[str, Any]:
        """What identifies the decoded pixels, for the cache's key."""
        return {"pictures": self.content}


class ArrayPictures(Pictures):
    """Pictures of one size in memory. pixels: (N, 3, H, W) uint8. entry: the cache entry that `pixels` maps, if any."""

    def __init__(self, pixels: Tensor, labels: Tensor, entry: Entry | None = None) -> None:
        self.pixels = pixels
        self.entry = entry  # a reference keeps the store from removing it
        self.labels = labels

    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tensor, Tensor | None]:
        return self.pixels[torch.as_tensor(index)], None

    def size_of(self, index: int) -> tuple[int, int]:
        height, width = self.pixels.shape[2:]
        return width, height

    def sketch(self, index: int) -> bytes:
        return self.pixel_digest(index)

    def pixel_digest(self, index: int) -> bytes:
        return hashlib.blake2b(self.pixels[index].contiguous().numpy().data, digest_size=DIGEST).digest()

    def byte_digest(self, index: int) -> bytes:
        return self.pixel_digest(index)

    def _content(self) -> str:
        digest = hashlib.blake2b(str(tuple(self.pixels.shape)).encode(), digest_size=16)
        digest.update(self.pixels.numpy().data)
        return digest.hexdigest()


class FilePictures(Pictures):
    """Pictures in files, resized by `spec`. After `keep` or `hold` they are decoded; otherwise each `fetch` decodes.

    root: paths relative to it are a part of `content`. grey: see `to_rgb`. Raises DataError that names a file which
    does not decode.
    """

    cut = True
    kind: ClassVar[FileKind] = PICTURES

    def __init__(
        self, files: Sequence[Path], labels: Tensor, *, root: Path, spec: ImageSpec, grey: Range | None = None
    ) -> None:
        self.files = list(files)
        self.grey = grey
        self.labels = labels
        self.root = root
        self.spec = spec
        self._decoded: Sequence[np.ndarray] | None = None
        self._digests: dict[int, bytes] = {}  # of files that were read, by index

    def keep(self, cache: SampleCache, name: str) -> None:
        """Decode pictures that are not in the cache, and read from the cache from then on. Does nothing if they cannot
        be cached. name: of the data."""
        if not cache.has_room(self.decoded_bytes):
            return
        entry = cache.ragged(self.decoding(), self._measured, len(self.files), self._packed, name, self.spec.resize)
        self._decoded = None if entry is None else PackedPictures(entry)

    def size_of(self, index: int) -> tuple[int, int]:
        return upright_size(self.files[index])

    @property
    def decoded_by(self) -> Sequence[str]:
        return dicom_versions(self.files)

    def decoding(self) -> dict[str, Any]:
        resize: Any = self.spec.resize if self.spec.stretched is None else list(self.spec.stretched)
        own = {"pictures": self.content, "resize": resize, "filter": self.spec.interpolation}
        return own | ({"versions": [*self.decoded_by]} if self.decoded_by else {})

    def problem_of(self, file: Path) -> DataError | None:
        """Return the error with which reading a file fails, if it does."""
        return problem_of(file, self.spec)

    def broken(self) -> list[DataError]:
        """Errors of all files that cannot be read."""
        with ThreadPoolExecutor() as pool:
            problems = pool.map(self.problem_of, self.files)
            return [error for error in problems if error is not None]

    def hold(self, *, shows: bool = False) -> None:
        """Decode all pictures into memory. shows: whether to show a progress bar."""
        with Decoder(len(self.files), self.kind.many, shows=shows) as decoder:
            self._decoded = [_last(picture) for picture in decoder(self._read, range(len(self.files)))]

    @property
    def in_memory(self) -> bool:
        return self._decoded is not None

    @property
    def decoded_bytes(self) -> int:
        """Estimate for pictures with an aspect ratio of 4:3."""
        return len(self.files) * 3 * self.spec.resize**2 * 4 // 3

    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tensor, Tensor | None]:
        places = torch.as_tensor(index).tolist()
        pictures = [_last(self._read(i)) if self._decoded is None else self._decoded[i] for i in places]
        return (
            padded(pictures) if whole or self.spec.stretched is not None else (centres(pictures, self.spec.size), None)
        )

    def sketch(self, index: int) -> bytes:
        """Digest of every eighth row and column: 1/64 of the bytes."""
        assert self._decoded is not None
        return _pixel_digest(self._decoded[index][::SKETCH, ::SKETCH])

    def pixel_digest(self, index: int) -> bytes:
        assert self._decoded is not None
        return _pixel_digest(self._decoded[index])

    def byte_digest(self, index: int) -> bytes:
        return self._digest(index)

    def name_of(self, index: int) -> str:
        return str(self.files[index])

    @cached_property
    def as_found(self) -> str:
        return self._digest_of_files(None)

    def _content(self) -> str:
        return self._digest_of_files(self.grey)

    def _digest_of_files(self, grey: Range | None) -> str:
        digest = hashlib.blake2b(b"" if grey is None else repr(grey).encode(), digest_size=16)
        others = [file.parent for file in self.files if not file.is_relative_to(self.root)]
        outside = os.path.commonpath(others) if others else self.root
        with ThreadPoolExecutor() as pool:  # hashing releases the GIL
            for file, found in zip(self.files, pool.map(self._digest, range(len(self.files))), strict=True):
                base = self.root if file.is_relative_to(self.root) else outside
                digest.update(f"{file.relative_to(base)}\0".encode() + found)
        return digest.hexdigest()

    def _digest(self, place: int) -> bytes:
        if place not in self._digests:
            self._digests[place] = _digest(self.files[place])
        return self._digests[place]

    def _read(self, place: int) -> Tensor:
        """Decode a picture. Raises DataError, also if the file changed since it was hashed: its pixels would be cached
        under the key of the old content."""
        file = self.files[place]
        with named(file):
            encoded = file.read_bytes()
        found = hashlib.blake2b(encoded, digest_size=DIGEST).digest()
        if self._digests.setdefault(place, found) != found:
            raise DataError(
                f"a {self.kind.one} changed while the data was read",
                where=file,
                next_step="run the command again once nothing changes the data",
            )
        return self._decode(place, encoded)

    def _decode(self, place: int, encoded: bytes) -> Tensor:
        """(3, H, W) of a file's bytes. Raises DataError."""
        return read_picture(self.files[place], self.spec, encoded, self.grey, self.box_of(place))

    def box_of(self, place: int) -> Box | None:
        """The part of the picture that makes the sample; None for the whole picture."""
        return None

    def _measured(self, place: int) -> Tensor:
        with named(self.files[place]), Image.open(self.files[place]) as opened:
            return packed_bytes(self.spec.stretched or resized_size(opened.size, self.spec.resize))

    def _packed(self, place: int) -> Tensor:
        """Raises OSError if the decoded size differs from the header's, so that the row does not fit its place."""
        row = packed(self._read(place))
        if len(row) != self._measured(place):
            raise OSError(errno.EINVAL, f"a {self.kind.one} is not as large as its file says: {self.files[place]}")
        return row


def keep_or_hold(sources: Sequence[Source], cache: SampleCache, name: str) -> None:
    """Decode pictures of files now if they can be cached, or if all others together fit in memory. name: of the data.
    Raises DataError that names all unreadable files."""
    files = list({id(source): source for source in sources if isinstance(source, FilePictures)}.values())
    try:
        for pictures in files:
            pictures.keep(cache, name)
        left = [pictures for pictures in files if not pictures.in_memory]
        if sum(pictures.decoded_bytes for pictures in left) <= MEMORY_BYTES:
            for pictures in left:
                pictures.hold(shows=cache.shows)
    except DataError as first:
        errors = [error for pictures in files for error in pictures.broken()] or [first]
        raise together(errors, f"{files[0].kind.many} cannot be read", "repair or remove those files") from first


def _digest(file: Path) -> bytes:
    """Digest of the whole file: a repaired file may differ from the damaged one only in the middle."""
    with named(file), file.open("rb") as opened:
        return hashlib.file_digest(opened, partial(hashlib.blake2b, digest_size=DIGEST)).digest()


def _pixel_digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=DIGEST)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _last(picture: Tensor) -> np.ndarray:
    """(3, H, W) → (H, W, 3), as in Pillow."""
    return picture.permute(1, 2, 0).numpy()
