"""Read sounds from files: decode, mix to one channel, resample. Shapes: T values of one channel."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from frostline.data.files.kind import FileKind
from frostline.errors import DataError, needs

# Formats of libsndfile by suffix; raw values without a header, and formats of other programs' data are left out.
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf")
SOUNDS = FileKind("sound", "sounds", (".wav", ".flac", ".ogg", ".mp3"), lambda: frozenset(SUFFIXES), ("audio", "sound"))


class Header(NamedTuple):
    """frames: number of values per channel. rate: of them per second."""

    frames: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


def header_of(file: Path) -> Header:
    """Read the header of a sound. Raises DataError if it cannot be read, or if the sound is empty."""
    with named(file):
        said = soundfile().info(str(file))
    if said.frames < 1:
        raise DataError("the sound is empty: it lasts 0 s", where=file, next_step="record it again, or remove it")
    return Header(said.frames, said.samplerate, said.channels)


def read_sound(file: Path, rate: int, encoded: bytes | None = None) -> Tensor:
    """Return (T,) float32 values at `rate` per second, the mean of all channels. encoded: the file's bytes, if they
    were read before. Raises DataError."""
    with named(file):
        values, own = soundfile().read(
            str(file) if encoded is None else BytesIO(encoded), dtype="float32", always_2d=True
        )
    if not len(values):
        raise DataError("the sound is empty: it lasts 0 s", where=file, next_step="record it again, or remove it")
    return resampled(values.mean(1), own, rate, file)


def resampled(values: np.ndarray, own: int, rate: int, where: object) -> Tensor:
    """Convert (T,) values from `own` to `rate` values per second by a polyphase filter. Raises DataError for values
    that are not finite."""
    if not np.isfinite(values).all():
        raise DataError("the sound has values that are no numbers", where=where, next_step="repair it, or remove it")
    if own != rate:
        ratio = Fraction(rate, own)
        values = resample_poly(values, ratio.numerator, ratio.denominator)
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


@contextmanager
def named(file: object) -> Iterator[None]:
    """Convert the library's exceptions into DataError with the file's name."""
    try:
        yield
    except (soundfile().LibsndfileError, OSError) as error:
        said = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise DataError(
            f"a sound does not decode: {said}", where=file, next_step="repair or remove that file"
        ) from error


@cache
def soundfile() -> Any:
    with needs("soundfile", "which decodes sounds", where="data", extra="sound", otherwise="data of another kind"):
        import soundfile
    return soundfile
