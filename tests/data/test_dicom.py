"""DICOM files as pictures: bits equal to pydicom's own pipeline on its test files, and what is refused or reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
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


def saved(tmp_path: Path, **elements: Any) -> Path:
    """CT_small.dcm with other elements; None removes one."""
    data = pydicom.dcmread(FOLDER / "CT_small.dcm")
    for name, value in elements.items():
        setattr(data, name, value)
    data.save_as(tmp_path / "changed.dcm")
    return tmp_path / "changed.dcm"


def seen(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(to_rgb(picture, None))


@pytest.mark.parametrize("window", [(None, None), ("", ""), (40, None), (None, 400)])
def test_an_empty_window_is_none(tmp_path: Path, window: tuple[Any, Any]) -> None:
    changed = saved(tmp_path, WindowCenter=window[0], WindowWidth=window[1])
    np.testing.assert_array_equal(seen(changed), opened("CT_small.dcm"))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [1, 2, -1])
def test_windows_of_every_function_and_slope_are_pydicoms(tmp_path: Path, function: str, slope: int) -> None:
    changed = saved(tmp_path, WindowCenter=[40, 0], WindowWidth=[400, 9], VOILUTFunction=function, RescaleSlope=slope)
    data = pydicom.dcmread(changed)
    values = apply_modality_lut(data.pixel_array, data)
    bottom, top = sorted((-(2**15) * slope - 1024, (2**15 - 1) * slope - 1024))
    expected = apply_voi_lut(values, data)
    low, high = (bottom, top) if slope > 0 else (top, bottom)  # pydicom maps the ends of a window to these
    require_shown(seen(changed), expected, low, high)


def test_tables_of_values_are_applied(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "SS", [300, -100, 16])
    table.add_new("LUTData", "OW", (np.arange(300) * 218).astype(np.uint16).tobytes())
    changed = saved(tmp_path, VOILUTSequence=[table])
    values = pydicom.dcmread(changed).pixel_array.astype(int) - 1024
    require_shown(seen(changed), (np.clip(values + 100, 0, 299) * 218).astype(float), 0, 2**16 - 1)


def test_padding_is_no_value_of_the_picture(tmp_path: Path) -> None:
    data = pydicom.dcmread(FOLDER / "CT_small.dcm")
    values = data.pixel_array.copy()
    inside = values[8:].astype(float) - 1024
    values[:8] = -2000
    changed = saved(tmp_path, PixelPaddingValue=-2000, PixelData=values.tobytes())
    require_shown(seen(changed)[8:], inside, inside.min(), inside.max())


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_an_empty_sequence_is_none(tmp_path: Path, sequence: str) -> None:
    np.testing.assert_array_equal(seen(saved(tmp_path, **{sequence: []})), opened("CT_small.dcm"))


def test_what_is_done_to_an_open_picture_is_kept() -> None:
    with Image.open(FOLDER / "CT_small.dcm") as picture:
        whole = np.asarray(to_rgb(picture, None))
        np.testing.assert_array_equal(np.asarray(to_rgb(picture.crop((10, 20, 50, 60)), None)), whole[20:60, 10:50])
        np.testing.assert_array_equal(np.asarray(to_rgb(picture.rotate(180), None)), whole[::-1, ::-1])


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
        ("MR_truncated.dcm", "it is damaged: The number of bytes of pixel data is less than expected"),
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
    own = make(grey_range="each")
    each = {Path(own.train_split.source.name_of(i)).name: own.train_split[p].inputs  # type: ignore[union-attr]
            for p, i in enumerate(own.train_split.index.tolist())}  # fmt: skip
    name = next(name for name in each if name.endswith(".dcm"))
    alone = [read_picture(tmp_path / kind / name, own.modality.spec) for kind in ("a", "b")]  # type: ignore[arg-type]
    assert any(torch.equal(each[name][0], picture) for picture in alone)  # type: ignore[index]


def test_several_frames_are_told(make: Callable[..., Data], tmp_path: Path) -> None:
    make()
    (tmp_path / "a" / "frames.dcm").write_bytes((FOLDER / "examples_ybr_color.dcm").read_bytes())
    assert "one DICOM file has several frames, of which the middle one is used" in make().notes()
