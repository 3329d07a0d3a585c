"""DICOM files as pictures, for Pillow: wherever a picture may stand, a DICOM file may. Shapes: (H, W) pixels.

Grey files become pictures of modality values (DICOM PS3.3, C.11.1: Hounsfield units in CT), in mode F. `shown` converts
them to 8 bits, by the file's own window (C.11.2) or by a range of values.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from frostline.data.pictures.files import DICOM, FRAMES
from frostline.data.pictures.grey import Range, to_eight_bits
from frostline.errors import FrostlineError, needs

SUFFIXES = (".dcm", ".dicom")
MAGIC, MAGIC_AT = b"DICM", 128  # PS3.10, 7.1
INVERTED = "MONOCHROME1"  # low values are white (PS3.3, C.7.6.3.1.2)
WINDOW = "frostline window"  # entry of `Image.info`, which Pillow copies to pictures made of this one


class Window(NamedTuple):
    """How a file wants its modality values shown. low, high: what becomes black and white. sigmoid: its centre and
    width, in their place. table: 8-bit values from `low` up in their place. inverted: whether low values are white."""

    low: float
    high: float
    inverted: bool
    sigmoid: tuple[float, float] | None = None
    table: np.ndarray | None = None

    def applied(self, values: np.ndarray) -> np.ndarray:
        """(H, W) modality values → uint8, not inverted."""
        if self.table is not None:
            index = np.clip(np.floor(values) - self.low, 0, len(self.table) - 1).astype(np.int64)
            return self.table[index]
        if self.sigmoid is not None:
            centre, width = self.sigmoid
            values = 1 / (1 + np.exp(-4 * (values.astype(np.float64) - centre) / width))
            return to_eight_bits(values, "F", (0.0, 1.0))
        return to_eight_bits(values, "F", (self.low, self.high if self.high > self.low else self.low + 1))


class DicomPicture(ImageFile.ImageFile):
    """The middle frame, if there are several. `info` holds the window and the number of frames. Raises OSError if the
    file has no pixels, or a codec for them is missing."""

    format = DICOM
    format_description = "Digital Imaging and Communications in Medicine"

    def _open(self) -> None:
        assert self.fp is not None
        self.fp.seek(MAGIC_AT)
        if self.fp.read(len(MAGIC)) != MAGIC:
            raise SyntaxError("no DICOM file")
        self.fp.seek(0)
        with _readable():
            self._data = _pydicom().dcmread(self.fp, defer_size=None)
            self._size = int(self._data.get("Columns") or 1), int(self._data.get("Rows") or 1)
            is_grey = str(self._data.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
            self._mode = "F" if is_grey else "RGB"
            self.info[FRAMES] = int(self._data.get("NumberOfFrames") or 1)
        self.tile: list[Any] = []

    def load(self) -> Any:
        if self._data is not None:
            with _readable():
                made = _grey(self._data, self.info) if self.mode == "F" else _colour(self._data)
            if made.size != self.size:
                raise OSError(f"the file has {made.size} pixels, but says {self.size}")
            self.im, self._data = made.im, None
        return Image.Image.load(self)


def dicom_versions(files: Sequence[Path]) -> list[str]:
    """The version of pydicom, if one of the files is DICOM by its suffix."""
    return [f"pydicom {_pydicom().__version__}"] if any(it.suffix.lower() in SUFFIXES for it in files) else []


def register() -> None:
    """Make Pillow open DICOM files. pydicom is imported with the first one."""
    Image.register_open(DICOM, DicomPicture)
    Image.register_extensions(DICOM, list(SUFFIXES))


def shown(picture: Image.Image, chosen: Range | None) -> np.ndarray | None:
    """(H, W) uint8 of a grey DICOM picture or one made of it, or None for other pictures. chosen: the values that
    become black and white; None for the file's own window."""
    if picture.format == DICOM:
        picture.load()
    window = picture.info.get(WINDOW) if picture.mode == "F" else None
    if window is None:
        return None
    values = np.asarray(picture)
    seen: np.ndarray = window.applied(values) if chosen is None else to_eight_bits(values, "F", chosen)
    return 255 - seen if window.inverted else seen


@contextmanager
def _readable() -> Iterator[None]:
    """Convert what pydicom raises for damaged files, of many types, into OSError, and drop its warnings about values
    that are not needed here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    except (FrostlineError, OSError, MemoryError):
        raise
    except Exception as error:
        raise OSError(f"it is damaged: {(str(error) or type(error).__name__).splitlines()[0]}") from error


def _grey(data: Any, info: dict[Any, Any]) -> Image.Image:
    from pydicom.pixels.processing import apply_modality_lut

    values = np.asarray(apply_modality_lut(_pixels(data), data), np.float32)
    info[WINDOW] = _window(values, data)
    return Image.fromarray(values)


def _window(values: np.ndarray, data: Any) -> Window:
    """The file's first table or window; without one, the picture's smallest and largest value, without padding."""
    inverted = data.PhotometricInterpretation == INVERTED
    tables = data.get("VOILUTSequence")
    if tables:
        number, first, bits = (int(it) for it in tables[0].LUTDescriptor)
        raw = tables[0].LUTData
        table = np.frombuffer(raw, np.uint16) if isinstance(raw, bytes) else np.asarray(raw)
        eight = np.rint(table[: number or 2**16] * (255.0 / (2**bits - 1))).astype(np.uint8)
        return Window(first, 0, inverted, table=eight)
    centre, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        padding = data.get("PixelPaddingValue")
        scale = float(data.get("RescaleSlope") or 1), float(data.get("RescaleIntercept") or 0)
        inside = values if padding is None else values[values != float(padding) * scale[0] + scale[1]]
        inside = inside if inside.size else values
        return Window(float(inside.min()), float(inside.max()), inverted)
    function = data.get("VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        return Window(0, 1, inverted, sigmoid=(centre, width))
    if function == "LINEAR_EXACT" or width == 1:
        return Window(centre - width / 2, centre + width / 2, inverted)
    half = (width - 1) / 2
    return Window(centre - 0.5 - half, centre - 0.5 + half, inverted)


def _first(value: Any) -> float | None:
    """The first of several numbers; None if there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return float(value)
    return float(value[0]) if len(value) else None


def _colour(data: Any) -> Image.Image:
    from pydicom.pixels.processing import apply_color_lut

    values = _pixels(data)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, data)
    if values.dtype != np.uint8:
        values = np.rint(values * (255.0 / np.iinfo(values.dtype).max)).astype(np.uint8)
    return Image.fromarray(values)


def _pixels(data: Any) -> np.ndarray:
    """(H, W) or (H, W, 3) of the middle frame; colours as RGB."""
    if "PixelData" not in data and "FloatPixelData" not in data and "DoubleFloatPixelData" not in data:
        raise OSError("the DICOM file has no pixels")
    frames = int(data.get("NumberOfFrames") or 1)
    try:
        values: np.ndarray = _pydicom().pixels.pixel_array(data, index=(frames - 1) // 2 if frames > 1 else None)
    except RuntimeError as error:  # a codec is missing
        raise OSError(
            f"its pixels are compressed as {data.file_meta.TransferSyntaxUID.name}, for which a codec of pydicom is "
            f"missing: {str(error).splitlines()[0]}"
        ) from error
    return values


def _pydicom() -> Any:
    with needs(
        "pydicom", "which reads DICOM files", where="data", extra="dicom", otherwise="pictures in other formats"
    ):
        import pydicom
        import pydicom.pixels
    return pydicom
