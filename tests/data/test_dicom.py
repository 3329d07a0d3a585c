"""DICOM files as pictures: bits equal to pydicom's own pipeline on its test files, and what is refused or reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.data.module import Data
from frostline.data.pictures.files import suffixes
from frostline.data.pictures.grey import WINDOWS
from frostline.data.pictures.image_folder import ImageFolder
from frostline.data.pictures.reading import read_picture, to_rgb, upright_size
from frostline.errors import ConfigError, DataError

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def opened(name: str, grey: Any = None) -> np.ndarray:
    """(H, W, 3) uint8, as the network's preprocessing gets it."""
    with Image.open(FOLDER / name) as picture:
        return np.asarray(to_rgb(picture, grey))


def require_shown(picture: np.ndarray, values: np.ndarray, low: float, high: float) -> None:
    """Values from low to high are shown as 0 to 255, rounded; halves in either direction."""
    exact = np.clip((values - low) / (high - low), 0, 1)[:, :, None] * 255
    assert np.abs(picture - exact).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("MR_small.dcm", -(2**15), 2**15 - 1),
        ("MR_small_RLE.dcm", -(2**15), 2**15 - 1),
        ("MR_small_bigendian.dcm", -(2**15), 2**15 - 1),
        ("MR_small_jp2klossless.dcm", -(2**15), 2**15 - 1),
        ("examples_overlay.dcm", 0, 2**12 - 1),
        ("693_J2KI.dcm", -(2**13) - 1024, 2**13 - 1 - 1024),
    ],
)
def test_the_files_own_window_is_applied_as_pydicom_does(name: str, low: float, high: float) -> None:
    data = pydicom.dcmread(FOLDER / name)
    expected = apply_voi_lut(apply_modality_lut(data.pixel_array, data), data)
    require_shown(opened(name), expected, low, high)


def test_without_a_window_the_values_of_the_picture_are_the_range() -> None:
    data = pydicom.dcmread(FOLDER / "CT_small.dcm")
    values = apply_modality_lut(data.pixel_array, data)
    require_shown(opened("CT_small.dcm"), values, values.min(), values.max())


@pytest.mark.parametrize("window", [(-1350.0, 150.0), (-160.0, 240.0)])
def test_a_window_in_hounsfield_units_replaces_the_files(window: tuple[float, float]) -> None:
    data = pydicom.dcmread(FOLDER / "CT_small.dcm")
    assert data.RescaleIntercept == -1024
    values = data.pixel_array.astype(float) - 1024
    require_shown(opened("CT_small.dcm", window), values, *window)


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "examples_rgb_color.dcm", "ExplVR_BigEnd.dcm"])
def test_colours_are_those_of_pydicom(name: str) -> None:
    np.testing.assert_array_equal(opened(name), pixel_array(FOLDER / name))


def test_more_than_8_bits_of_colour_keep_the_upper_ones() -> None:
    values = pixel_array(FOLDER / "SC_rgb_rle_16bit.dcm")
    np.testing.assert_array_equal(opened("SC_rgb_rle_16bit.dcm"), np.rint(values / 257).astype(np.uint8))


def test_palettes_are_applied() -> None:
    data = pydicom.dcmread(FOLDER / "examples_palette.dcm")
    expected = apply_color_lut(data.pixel_array, data)
    top = np.iinfo(expected.dtype).max
    np.testing.assert_array_equal(opened("examples_palette.dcm"), np.rint(expected * (255 / top)).astype(np.uint8))


def test_the_middle_frame_is_used() -> None:
    frames = pixel_array(FOLDER / "examples_ybr_color.dcm")
    assert len(frames) == 30
    np.testing.assert_array_equal(opened("examples_ybr_color.dcm"), frames[14])


def test_low_values_are_white_in_monochrome1(tmp_path: Path) -> None:
    data = pydicom.dcmread(FOLDER / "CT_small.dcm")
    data.PhotometricInterpretation = "MONOCHROME1"
    data.save_as(tmp_path / "inverted.dcm")
    with Image.open(tmp_path / "inverted.dcm") as picture:
        inverted = np.asarray(to_rgb(picture, None))
    np.testing.assert_array_equal(inverted, 255 - opened("CT_small.dcm"))


def test_sizes_come_from_the_header_and_pictures_are_resized(spec: ImageSpec) -> None:
    assert upright_size(FOLDER / "JPEG2000.dcm") == (256, 1024)
    assert read_picture(FOLDER / "MR_small.dcm", spec).shape == (3, 16, 16)
    assert {".dcm", ".dicom"} <= suffixes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("reportsi.dcm", "the DICOM file has no pixels"),
        ("MR_truncated.dcm", "its pixels cannot be read: The number of bytes of pixel data is less than expected"),
        ("JPEGLSNearLossless_16.dcm", "compressed as JPEG-LS Lossy .* for which a codec of pydicom is missing"),
        ("SC_rgb_jpeg_gdcm.dcm", "compressed as JPEG Lossless, .* for which a codec of pydicom is missing"),
    ],
)
def test_files_that_cannot_be_shown_are_refused_in_words(name: str, message: str, spec: ImageSpec) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_picture(FOLDER / name, spec)
    assert raised.value.where == FOLDER / name


# --- data ---


@pytest.fixture
def make(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> Callable[..., Data]:
    """CT scans of two classes, with other values each."""

    def made(**own: Any) -> Data:
        for kind in ("a", "b"):
            (tmp_path / kind).mkdir(exist_ok=True)
            for number in range(6):
                data = pydicom.dcmread(FOLDER / "CT_small.dcm")
                data.PixelData = (data.pixel_array + number + 10 * (kind == "b")).astype(np.int16).tobytes()
                data.save_as(tmp_path / kind / f"{number}.dcm")
        settings: dict[str, Any] = {"dir": str(tmp_path), "classes": None, "grey_range": None} | common | own
        return data_of(ImageFolder, spec, **settings)

    return made


def test_windows_are_told_and_chosen_by_name(make: Callable[..., Data]) -> None:
    data = make()
    assert data.chosen() == {"data.batch_size": 64}
    assert "12 DICOM pictures are shown by their own window (data.grey_range)" in data.notes()
    lung = make(grey_range="lung")
    assert lung.chosen()["data.grey_range"] == list(WINDOWS["lung"])
    assert "12 DICOM pictures are shown by the range -1350 to 150 (data.grey_range)" in lung.notes()
    assert not (data.train_split[0].inputs == lung.train_split[0].inputs).all()  # type: ignore[union-attr]
    assert data.fingerprint != lung.fingerprint
    with pytest.raises(ConfigError):
        make(grey_range=[5, 1])


def test_deep_pictures_beside_dicom_files_have_no_common_range(make: Callable[..., Data], tmp_path: Path) -> None:
    make()
    Image.fromarray(np.full((16, 16), 3000, np.uint16)).save(tmp_path / "a" / "deep.png")
    with pytest.raises(DataError, match="12 grey pictures hold a window of their own and 1 have more than 8 bits"):
        make()
    assert len(make(grey_range="each").names) == 2


def test_several_frames_are_told(make: Callable[..., Data], tmp_path: Path) -> None:
    make()
    (tmp_path / "a" / "frames.dcm").write_bytes((FOLDER / "examples_ybr_color.dcm").read_bytes())
    assert "1 DICOM files have several frames, of which the middle one is used" in make().notes()
