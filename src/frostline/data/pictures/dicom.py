"""DICOM files as pictures, for Pillow: wherever a picture may stand, a DICOM file may. Shapes: (H, W) pixels.

Grey files become pictures of modality values (DICOM PS3.3, C.11.1: Hounsfield units in CT), in mode F. `shown` converts
them to 8 bits, by the file's own window (C.11.2) or by a range of values.
"""

import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from frostline.data.pictures.grey import Range, to_eight_bits
from frostline.errors import needs

FORMAT = "DICOM"
SUFFIXES = (".dcm", ".dicom")
MAGIC, MAGIC_AT = b"DICM", 128  # PS3.10, 7.1
INVERTED = "MONOCHROME1"  # low values are white (PS3.3, C.7.6.3.1.2)
OWN, FRAMES = "frostline shown", "frostline frames"  # entries of `Image.info`


class DicomPicture(ImageFile.ImageFile):
    """Of several frames, the middle one. `info` holds the picture in 8 bits by the file's own window, whether it is
    inverted, and the number of frames. Raises OSError if the file has no pixels, or a codec for them is missing."""

    format = FORMAT
    format_description = "Digital Imaging and Communications in Medicine"

    def _open(self) -> None:
        assert self.fp is not None
        self.fp.seek(MAGIC_AT)
        if self.fp.read(len(MAGIC)) != MAGIC:
            raise SyntaxError("no DICOM file")
        self.fp.seek(0)
        self._data = _pydicom().dcmread(self.fp, defer_size=None)
        self._size = int(self._data.get("Columns") or 1), int(self._data.get("Rows") or 1)
        self._mode = "F" if str(self._data.get("PhotometricInterpretation", "")).startswith("MONOCHROME") else "RGB"
        self.info[FRAMES] = int(self._data.get("NumberOfFrames") or 1)
        self.tile: list[Any] = []

    def load(self) -> Any:
        if self._data is not None:
            with warnings.catch_warnings():  # of pydicom, about values that are not needed here
                warnings.simplefilter("ignore", UserWarning)
                made = _grey(self._data, self.info) if self.mode == "F" else _colour(self._data)
            if made.size != self.size:
                raise OSError(f"the file has {made.size} pixels, but says {self.size}")
            self.im, self._data = made.im, None
        return Image.Image.load(self)


def register() -> None:
    """Make Pillow open DICOM files. pydicom is imported with the first one."""
    Image.register_open(FORMAT, DicomPicture)
    Image.register_extensions(FORMAT, list(SUFFIXES))


def shown(picture: Image.Image, chosen: Range | None) -> np.ndarray | None:
    """(H, W) uint8 of a grey DICOM picture, or None for other pictures. chosen: the values that become black and white;
    None for the file's own window."""
    if picture.format == FORMAT:
        picture.load()
    if OWN not in picture.info:
        return None
    own, inverted = picture.info[OWN]
    values: np.ndarray = own if chosen is None else to_eight_bits(np.asarray(picture), picture.mode, chosen)
    return 255 - values if inverted else values


def _grey(data: Any, info: dict[Any, Any]) -> Image.Image:
    from pydicom.pixels.processing import apply_modality_lut

    values = np.asarray(apply_modality_lut(_pixels(data), data), np.float64)
    info[OWN] = _windowed(values, data), data.PhotometricInterpretation == INVERTED
    return Image.fromarray(values.astype(np.float32))


def _windowed(values: np.ndarray, data: Any) -> np.ndarray:
    """uint8 by the file's first window or table; without one, from the picture's smallest to its largest value."""
    from pydicom.pixels.processing import apply_voi_lut

    if "VOILUTSequence" in data:
        low, high = 0.0, 2.0 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif "WindowCenter" in data and "WindowWidth" in data:
        low, high = _outputs(data)
    else:
        low, high = float(values.min()), float(values.max())
    found = np.asarray(apply_voi_lut(values, data), np.float64)
    return to_eight_bits(found, "F", (low, high if high > low else low + 1))


def _outputs(data: Any) -> Range:
    """The values to which pydicom maps the ends of a window: those that the stored bits can have."""
    bits = int(data.BitsStored)
    if "ModalityLUTSequence" in data:
        return 0.0, 2.0 ** int(data.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    low, high = (0.0, 2.0**bits - 1) if data.PixelRepresentation == 0 else (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


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
    except (AttributeError, ValueError, IndexError, NotImplementedError) as error:
        raise OSError(f"its pixels cannot be read: {str(error).splitlines()[0]}") from error
    return values


def _pydicom() -> Any:
    with needs(
        "pydicom", "which reads DICOM files", where="data", extra="dicom", otherwise="pictures in other formats"
    ):
        import pydicom
        import pydicom.pixels
    return pydicom
