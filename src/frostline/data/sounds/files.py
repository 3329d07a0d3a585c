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


MOST_FRAMES = 2**40  # of a sound; libsndfile says 2^63 - 1 for one of unknown length
LOST = 0.02  # share of a compressed sound that may be missing at its end, as encoders round


class Header(NamedTuple):
    """frames: number of values per channel. rate: of them per second."""

    frames: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def values_at(self, rate: int) -> int:
        """Number of values after resampling to `rate`."""
        return -(-self.frames * rate // self.rate)


def header_of(file: Path | BytesIO, name: Path | None = None) -> Header:
    """Read the header of a sound. name: of the file, if `file` holds its bytes. Raises DataError if the header cannot
    be read or says no length, or if the sound is empty."""
    where = name or file
    with named(where):
        info = soundfile().info(str(file) if isinstance(file, Path) else file)
    if info.frames < 1:
        raise DataError("the sound is empty: it lasts 0 s", where=where, next_step="record it again, or remove it")
    if info.frames > MOST_FRAMES:
        raise DataError(
            "the header does not say how long the sound is",
            where=where,
            next_step="convert it to a file, not to a pipe (ffmpeg -i <file> <new file>)",
        )
    return Header(info.frames, info.samplerate, info.channels)


def read_sound(file: Path, rate: int, most: float, encoded: bytes | None = None) -> Tensor:
    """Return (T,) float32 values at `rate` per second, the mean of all channels, as many as the header promises. most:
    seconds, of a longer sound the middle is read. encoded: the file's bytes, if they were read before. Raises
    DataError, also for a sound that ends early."""
    header = header_of(file) if encoded is None else header_of(BytesIO(encoded), file)
    wanted = min(header.frames, round(most * header.rate))
    start = (header.frames - wanted) // 2
    with named(file):
        values, own = soundfile().read(
            str(file) if encoded is None else BytesIO(encoded), wanted, start, dtype="float32", always_2d=True
        )
    if len(values) < (1 - LOST) * wanted:
        raise DataError(
            f"the sound ends after {len(values) / own:.3g} s of {wanted / own:.3g} s",
            where=file,
            next_step="repair or remove that file",
        )
    whole = np.zeros(wanted, np.float32)
    whole[: len(values)] = values.mean(1)
    return resampled(whole, own, rate, file)


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
    except (soundfile().LibsndfileError, OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        raise DataError(
            f"a sound does not decode: {reason}", where=file, next_step="repair or remove that file"
        ) from error


@cache
def soundfile() -> Any:
    with needs("soundfile", "which decodes sounds", where="data", extra="sound", otherwise="data of another kind"):
        import soundfile
    return soundfile
