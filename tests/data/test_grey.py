"""Grey pictures of more than 8 bits: one range for a whole data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.grey import chosen_range, deep_of, grey_notes, require_range, to_eight_bits
from frostline.data.pictures.image_folder import ImageFolder
from frostline.errors import ConfigError, DataError


def put(file: Path, values: Any, dtype: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=dtype)).save(file)
    return file


@pytest.mark.parametrize(
    ("values", "dtype", "suffix", "expected"),
    [
        ([[0, 200]], "uint16", "png", (0, 255)),
        ([[0, 1000]], "uint16", "png", (0, 1023)),
        ([[7, 4095]], "uint16", "png", (0, 4095)),
        ([[7, 4096]], "uint16", "png", (0, 16383)),
        ([[0, 60000]], "uint16", "png", (0, 65535)),
        ([[0, 4000]], "uint16", "tif", (0, 4095)),
        ([[0, 70000]], "int32", "tif", (0, 70000)),
        ([[-1000, 3000]], "int32", "tif", (-1000, 3000)),  # CT in Hounsfield units
        ([[0.0, 0.7]], "float32", "tif", (0, 1)),
        ([[0.0, 200.5]], "float32", "tif", (0, 200.5)),
        ([[0.0, 1.25]], "float32", "tif", (0, 1.25)),
        ([[-0.25, 0.25]], "float32", "tif", (-0.25, 0.25)),
        ([[-1.0, 1.0]], "float32", "tif", (-1, 1)),
        ([[np.nan, 0.5, np.inf]], "float32", "tif", (0, 1)),
    ],
)
def test_the_range_is_the_smallest_usual_one_that_holds_all(
    tmp_path: Path, values: Any, dtype: str, suffix: str, expected: tuple[float, float]
) -> None:
    deep = deep_of([put(tmp_path / f"a.{suffix}", values, dtype), put(tmp_path / f"b.{suffix}", [[0]], dtype)])
    assert deep.number == 2
    assert deep.range() == expected


def test_pictures_of_eight_bits_have_no_range(tmp_path: Path) -> None:
    files = [put(tmp_path / "a.png", [[0, 255]], "uint8"), put(tmp_path / "b.jpg", [[0, 255]], "uint8")]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    deep = deep_of([*files, tmp_path / "broken.png"])
    assert chosen_range(None, deep) is None
    assert grey_notes(deep, None) == []


def test_dark_and_bright_pictures_keep_their_difference() -> None:
    """By its own values each would be scaled alike."""
    dark, bright = (to_eight_bits(np.array([[0, top]]), "I;16", (0, 4095)) for top in (500, 4095))
    assert (dark.max(), bright.max()) == (31, 255)
    signed = to_eight_bits(np.array([[-1000, 1000, 3000]]), "I", (-1000, 3000))
    assert signed.tolist() == [[0, 128, 255]]


def test_what_is_no_number_is_black_and_what_is_beyond_is_cut_off() -> None:
    values = np.array([[np.nan, -np.inf, np.inf, 2.0, 0.5]])
    assert to_eight_bits(values, "F", (0.0, 1.0)).tolist() == [[0, 0, 255, 255, 128]]
    assert to_eight_bits(np.array([[np.nan, 0.0]]), "F", (-1.0, 1.0)).tolist() == [[0, 128]]
    assert to_eight_bits(np.array([[1e30, np.inf]]), "F", (1e30, 1e30 + 1)).tolist() == [[0, 0]], "one value alone"


def test_a_given_range_is_taken_and_what_is_cut_off_is_told(tmp_path: Path) -> None:
    deep = deep_of([put(tmp_path / "a.png", [[0, 5000]], "uint16")])
    assert chosen_range([0, 4095], deep) == (0, 4095)
    assert chosen_range("each", deep) is None
    beyond = grey_notes(deep, (0, 4095))
    assert "one grey picture has more than 8 bits: 0 becomes black and 4095 white" in beyond[0]
    assert "values from 0 to 5000, which are clipped" in beyond[1]


def test_colour_pictures_of_sixteen_bits_are_told(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"\0" + struct.pack(">3H", 100, 2000, 4000)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    deep = deep_of([tmp_path / "a.png"])
    assert (deep.number, deep.colours) == (0, 1)
    assert "upper 8" in grey_notes(deep, None)[0]


@pytest.mark.parametrize("setting", [[1, 0], [0, 0], [1], [1, 2, 3]])
def test_a_range_that_does_not_rise_is_refused(setting: list[float]) -> None:
    with pytest.raises(ConfigError, match="two numbers"):
        require_range(setting)


def test_all_parts_of_a_data_set_have_one_range(tmp_path: Path, spec: ImageSpec, common: dict[str, Any]) -> None:
    for split, top in (("train", 1000), ("test", 4000)):
        for name, value in (("dark", top // 2), ("bright", top)):
            for n in range(4):
                put(tmp_path / split / name / f"{n}.png", np.full((16, 16), value - n), "uint16")
    data = data_of(ImageFolder, spec, dir=str(tmp_path), classes=None, grey_range=None, **common)
    pixels = [
        int(split.source.fetch(split.index[:1], whole=False)[0].max()) for split in (data.train_split, data.test_split)
    ]
    assert pixels == [62, 249]  # bright is the first class: 1000 and 4000 of 4095, as 255ths
    assert data.look()["grey_range"] == [0.0, 4095.0]
    assert "16 grey pictures" in data.notes()[0]
    fixed = data_of(ImageFolder, spec, dir=str(tmp_path), classes=None, grey_range=[0, 65535], **common)
    assert int(fixed.test_split.source.fetch(fixed.test_split.index[:1], whole=False)[0].max()) == 16


def test_another_range_is_other_content_and_pictures_without_have_the_content_of_before(tmp_path: Path) -> None:
    from hashlib import blake2b

    import torch

    from frostline.data.pictures.sources import FilePictures

    file = put(tmp_path / "a.png", [[0, 4000]], "uint16")
    spec = ImageSpec(8, 8, (0, 0, 0), (1, 1, 1))
    made = [
        FilePictures([file], torch.tensor([0]), root=tmp_path, spec=spec, grey=grey)
        for grey in (None, (0.0, 1.0), (0.0, 9.0))
    ]
    assert len({pictures.content for pictures in made}) == 3
    own = blake2b(b"a.png\0" + blake2b(file.read_bytes(), digest_size=16).digest(), digest_size=16).hexdigest()
    assert made[0].content == own


def test_floats_beside_whole_numbers_have_no_common_range(
    tmp_path: Path, spec: ImageSpec, common: dict[str, Any]
) -> None:
    for name, value in (("dark", 20), ("bright", 4000)):
        for n in range(4):
            put(tmp_path / name / f"{n}.png", np.full((16, 16), value + n), "uint16")
        put(tmp_path / name / "4.tif", np.full((16, 16), value / 4095), "float32")
    with pytest.raises(DataError, match="2 hold floats and the others whole numbers") as refused:
        data_of(ImageFolder, spec, dir=str(tmp_path), classes=None, grey_range=None, **common)
    assert "data.grey_range=each" in refused.value.next_step
    assert data_of(ImageFolder, spec, dir=str(tmp_path), classes=None, grey_range="each", **common).chosen() == {
        "data.batch_size": 64
    }


@pytest.mark.parametrize("setting", ["foo", [0, float("nan")], [0, "a"], 5, [None, 1]])
def test_what_is_no_range_is_refused(setting: Any) -> None:
    with pytest.raises(ConfigError, match="two numbers"):
        require_range(setting)


def test_values_without_numbers_and_pictures_of_nearly_one_grey_are_told(tmp_path: Path) -> None:
    deep = deep_of([put(tmp_path / "a.tif", [[np.nan, 0.5, 1.0]], "float32")])
    assert "1 of them hold NaN" in grey_notes(deep, (0.0, 1.0))[-1]
    assert "use little of that range, 0.5 to 1" in grey_notes(deep, (0.0, 4095.0))[1]


@pytest.mark.parametrize(
    ("suffix", "mode"), [("gif", "RGB"), ("png", "RGB"), ("webp", "RGB"), ("tif", "RGB"), ("tif", "I;16")]
)
def test_pictures_of_which_one_frame_is_used_are_counted(tmp_path: Path, suffix: str, mode: str) -> None:
    for name in "ab":
        frames = [Image.new(mode, (8, 8), 90 * place) for place in range(3 if name == "a" else 1)]
        frames[0].save(tmp_path / f"{name}.{suffix}", save_all=True, append_images=frames[1:])
    deep = deep_of([tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"])
    assert "one picture has several frames or pages, of which the first one is used" in grey_notes(deep, None)
