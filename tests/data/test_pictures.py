"""Real files, written with Pillow in every mode that people have: each comes out as it looks."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import models
from torchvision.transforms import functional as F

from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.files import suffixes
from frostline.data.pictures.reading import read_picture
from frostline.data.pictures.sources import MEMORY_BYTES, ArrayPictures, FilePictures
from frostline.data.target_types.classes import Classes
from frostline.errors import DataError

SPEC = ImageSpec(size=16, resize=16, mean=(0, 0, 0), std=(1, 1, 1))
ORANGE = (200, 100, 50)
SIZE = (24, 16)  # width, height


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, SIZE, colour)  # type: ignore[arg-type]


def palette(colour: tuple[int, int, int], **info: object) -> Image.Image:
    """Every pixel has number 1 of a palette of three."""
    picture = Image.new("P", SIZE, 1)
    picture.putpalette([0, 0, 0, *colour, 9, 9, 9])
    picture.info.update(info)
    return picture


def array(value: float, dtype: str) -> Image.Image:
    return Image.fromarray(np.full((SIZE[1], SIZE[0]), value, dtype=dtype))


def grey(value: int) -> tuple[int, int, int]:
    return value, value, value


WHITE = grey(255)
KINDS = {
    "1, white": (plain("1", 1), "png", WHITE),
    "1, black": (plain("1", 0), "png", grey(0)),
    "L": (plain("L", 77), "png", grey(77)),
    "L in a jpeg": (plain("L", 77), "jpg", grey(77)),
    "L with transparency": (plain("LA", (77, 255)), "png", grey(77)),
    "L, transparent": (plain("LA", (77, 0)), "png", WHITE),
    "L with a transparent value": (plain("L", 77), "png", WHITE),  # saved with transparency=77, see below
    "P": (palette(ORANGE), "png", ORANGE),
    "P in a gif": (palette(ORANGE), "gif", ORANGE),
    "P, transparent": (palette(ORANGE, transparency=1), "png", WHITE),
    "P, half transparent": (palette(ORANGE, transparency=b"\xff\x80\xff"), "png", (227, 177, 152)),
    "P, transparent in a gif": (palette(ORANGE, transparency=1), "gif", WHITE),
    "P, another number transparent": (palette(ORANGE, transparency=2), "png", ORANGE),
    "RGB": (plain("RGB", ORANGE), "png", ORANGE),
    "RGB in a jpeg": (plain("RGB", ORANGE), "jpg", ORANGE),
    "RGB in a webp": (plain("RGB", ORANGE), "webp", ORANGE),
    "RGB in a tiff": (plain("RGB", ORANGE), "tif", ORANGE),
    "RGB in a bmp": (plain("RGB", ORANGE), "bmp", ORANGE),
    "RGBA, opaque": (plain("RGBA", (*ORANGE, 255)), "png", ORANGE),
    "RGBA, transparent": (plain("RGBA", (*ORANGE, 0)), "png", WHITE),
    "RGBA, half transparent": (plain("RGBA", (*ORANGE, 128)), "png", (227, 177, 152)),  # 255 − (255 − c) · 128 / 255
    "RGBA in a webp": (plain("RGBA", (*ORANGE, 0)), "webp", WHITE),
    "CMYK in a jpeg": (plain("CMYK", (0, 255, 255, 0)), "jpg", (255, 0, 0)),
    "CMYK in a tiff": (plain("CMYK", (0, 255, 255, 0)), "tif", (255, 0, 0)),
    "YCbCr in a jpeg": (plain("YCbCr", (76, 85, 255)), "jpg", (254, 0, 0)),  # red by ITU-R BT.601
    "16 bit, mid grey": (array(32768, "uint16"), "png", grey(128)),
    "16 bit, white": (array(65535, "uint16"), "png", WHITE),
    "16 bit, black": (array(0, "uint16"), "png", grey(0)),
    "16 bit in a tiff": (array(32768, "uint16"), "tif", grey(128)),
    "32 bit integers up to 65535": (array(32768, "int32"), "tif", grey(128)),
    "32 bit integers up to 255": (array(77, "int32"), "tif", grey(77)),
    "floats up to 1": (array(0.5, "float32"), "tif", grey(128)),
    "floats up to 255": (array(77.0, "float32"), "tif", grey(77)),
    "floats below 0": (array(-3.0, "float32"), "tif", grey(0)),
    "no number at all": (array(math.nan, "float32"), "tif", grey(0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_mode_comes_out_as_it_looks(tmp_path: Path, kind: str) -> None:
    picture, suffix, expected = KINDS[kind]
    options = {"transparency": 77} if kind == "L with a transparent value" else {}
    picture.save(tmp_path / f"picture.{suffix}", **options)
    pixels = read_picture(tmp_path / f"picture.{suffix}", SPEC)
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (3, 16, 24))
    off = (pixels.int() - torch.tensor(expected).view(3, 1, 1)).abs().max()
    assert off <= (4 if suffix in ("jpg", "webp") else 1), pixels[:, 0, 0].tolist()


@pytest.mark.parametrize(("odd", "grey_value"), [(math.nan, 0), (-math.inf, 0), (math.inf, 255)])
def test_a_pixel_that_is_no_number_leaves_the_others_as_they_are(odd: float, grey_value: int, tmp_path: Path) -> None:
    values = np.full((16, 24), 0.5, "float32")
    values[0, 0] = odd
    Image.fromarray(values).save(tmp_path / "picture.tif")
    pixels = read_picture(tmp_path / "picture.tif", SPEC)
    assert pixels[0, 0].tolist() == [grey_value] + [128] * 23


@pytest.mark.filterwarnings("ignore:.*image format is deprecated")
@pytest.mark.parametrize("suffix", sorted(suffixes() & Image.registered_extensions().keys()))
def test_every_suffix_is_one_that_pillow_reads_where_it_writes_it(suffix: str, tmp_path: Path) -> None:
    form = Image.registered_extensions()[suffix]
    try:
        plain("RGB", "red").save(tmp_path / f"picture{suffix}")
    except (KeyError, OSError, ValueError):
        assert form in Image.OPEN, "Pillow reads it, and does not write it"
        return
    assert read_picture(tmp_path / f"picture{suffix}", SPEC).shape[0] == 3


def test_a_picture_taken_with_the_camera_on_its_side_is_upright(tmp_path: Path) -> None:
    stored = plain("RGB", "red")
    stored.paste("blue", (12, 0, 24, 16))  # red at the left, blue at the right
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show: the left side comes up
    stored.save(tmp_path / "side.jpg", exif=exif, quality=95, subsampling=0)
    pixels = read_picture(tmp_path / "side.jpg", SPEC)
    assert tuple(pixels.shape) == (3, 24, 16)
    red, _, blue = pixels.float().mean(2)
    assert red[:10].min() > 200 > 50 > red[14:].max()
    assert blue[14:].min() > 200 > 50 > blue[:10].max()


def test_of_a_moving_picture_the_first_frame_counts(tmp_path: Path) -> None:
    palette(ORANGE).save(tmp_path / "moving.gif", save_all=True, append_images=[palette((0, 0, 255))])
    with Image.open(tmp_path / "moving.gif") as opened:
        assert opened.n_frames == 2  # type: ignore[attr-defined]
    assert read_picture(tmp_path / "moving.gif", SPEC)[:, 8, 8].tolist() == list(ORANGE)


@pytest.mark.parametrize("size", [(400, 100), (100, 400)])
def test_a_long_picture_keeps_its_middle(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "red")
    width, height = size
    ends = [(0, 0, 100, 100), (width - 100, height - 100, width, height)]
    for end in ends:
        picture.paste("blue", end)
    picture.save(tmp_path / "long.png")
    pixels = read_picture(tmp_path / "long.png", SPEC)
    assert max(pixels.shape[1:]) == 32
    assert min(pixels.shape[1:]) == 16
    assert pixels.flatten(1).float().mean(1).tolist() == pytest.approx([255, 0, 0], abs=12)


def test_a_picture_of_two_to_one_keeps_everything(tmp_path: Path) -> None:
    picture = Image.new("RGB", (200, 100), "red")
    picture.paste("blue", (0, 0, 50, 100))
    picture.save(tmp_path / "wide.png")
    pixels = read_picture(tmp_path / "wide.png", SPEC).float()
    assert tuple(pixels.shape) == (3, 16, 32)
    assert pixels[2].mean() == pytest.approx(255 / 4, abs=2)


# --- what does not decode ---


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp", "ppm"])
def test_a_file_cut_off_anywhere_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"picture.{suffix}"
    noise(30, 20).save(file)
    whole, cuts = file.read_bytes(), 0
    for length in range(0, len(whole) - 8, max(1, len(whole) // 60)):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match="does not decode") as refused:
            read_picture(file, SPEC)
        assert refused.value.where == file
        cuts += 1
    assert cuts > 50


def test_a_truncated_jpeg_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "cut.jpg"
    noise(300, 200).save(file)
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(DataError, match="truncated") as refused:
        read_picture(file, SPEC)
    assert str(file) in str(refused.value)
    assert refused.value.next_step == "repair or remove that file"


@pytest.mark.parametrize("content", [b"not a picture\n", b"", b"<html></html>", b"\x00" * 100])
def test_other_files_with_a_picture_s_name_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(DataError, match="does not decode") as refused:
        read_picture(tmp_path / "text.jpg", SPEC)
    assert refused.value.where == tmp_path / "text.jpg"


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not decode"):
        read_picture(tmp_path / "absent.png", SPEC)


def test_broken_notes_of_the_camera_are_refused_by_name(tmp_path: Path) -> None:
    """Pillow rewrites the notes as it turns a picture, and fails where one has another type than its number says."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    file = tmp_path / "notes.jpg"
    noise(30, 20).save(file, exif=exif)
    maker, width = b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02"  # the same text under the number of a width
    assert file.read_bytes().count(maker) == 1
    file.write_bytes(file.read_bytes().replace(maker, width))
    with pytest.raises(DataError, match="does not decode") as refused:
        read_picture(file, SPEC)
    assert refused.value.where == file


# --- against torchvision's preprocessing ---


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (300, 300), (640, 320), (301, 200), (90, 50)])
@pytest.mark.parametrize(
    ("name", "weights"),
    [("resnet18", "DEFAULT"), ("resnet50", "IMAGENET1K_V2"), ("swin_t", "DEFAULT"), ("inception_v3", "DEFAULT"),
     ("efficientnet_b0", "DEFAULT")],
)  # fmt: skip
def test_a_read_picture_is_torchvisions_bit_for_bit_before_it_is_normalised(
    tmp_path: Path, name: str, weights: str, size: tuple[int, int]
) -> None:
    with torch.device("meta"):
        spec = TorchvisionBackbone(name, weights=weights, load=False).spec
    noise(*size).save(tmp_path / "picture.png")
    files = FilePictures([tmp_path / "picture.png"], torch.tensor([0]), root=tmp_path, spec=spec)
    pixels, sizes = files.fetch([0], whole=False)
    preset = models.get_model_weights(name)[weights].transforms(mean=(0, 0, 0), std=(1, 1, 1))
    with Image.open(tmp_path / "picture.png") as opened:
        expected = preset(opened) * 255
    assert sizes is None
    assert torch.equal(pixels[0], expected.round().byte())


# --- sets of pictures ---


@pytest.fixture
def files(tmp_path: Path) -> FilePictures:
    """A wide, a tall and a square one, each of its own colour."""
    for number, size in enumerate([(40, 20), (20, 30), (25, 25)]):
        Image.new("RGB", size, (60 * number + 30, 0, 0)).save(tmp_path / f"{number}.png")
    names = [tmp_path / f"{number}.png" for number in range(3)]
    return FilePictures(names, torch.tensor([0, 1, 1]), root=tmp_path, spec=SPEC)


@pytest.mark.parametrize("held", [False, True])
def test_whole_pictures_are_padded_at_the_right_and_the_bottom(files: FilePictures, held: bool) -> None:
    if held:
        files.hold()
    pixels, sizes = files.fetch([1, 0], whole=True)
    assert sizes is not None
    assert sizes.tolist() == [[24, 16], [16, 32]]  # height, width
    assert tuple(pixels.shape) == (2, 3, 24, 32)
    assert pixels[0, 0, :, :16].unique().tolist() == [90]
    assert pixels[1, 0, :16, :].unique().tolist() == [30]
    assert pixels[0, 0, :, 16:].sum() + pixels[1, 0, 16:, :].sum() == 0


def test_whole_pictures_of_one_size_are_not_padded(files: FilePictures) -> None:
    pixels, sizes = files.fetch([2, 2], whole=True)
    assert tuple(pixels.shape) == (2, 3, 16, 16)
    assert sizes is None


def test_pictures_for_evaluation_are_of_one_size(files: FilePictures) -> None:
    pixels, sizes = files.fetch([0, 1, 2], whole=False)
    assert tuple(pixels.shape) == (3, 3, 16, 16)
    assert sizes is None
    assert pixels[:, 0, 8, 8].tolist() == [30, 90, 150]


def test_held_pictures_are_read_once(files: FilePictures) -> None:
    before = files.fetch([0, 2], whole=False)[0]
    assert not files.in_memory
    files.hold()
    assert files.in_memory
    for file in files.files:
        file.unlink()
    assert torch.equal(files.fetch([0, 2], whole=False)[0], before)


def test_a_set_too_large_for_memory_says_so(files: FilePictures) -> None:
    assert files.decoded_bytes <= MEMORY_BYTES
    large = replace(SPEC, size=224, resize=224)
    many = FilePictures(files.files * 10_000, torch.zeros(30_000), root=files.root, spec=large)
    assert many.decoded_bytes > MEMORY_BYTES  # 30,000 · 3 · 224² · 4/3 bytes are 6 GB


def arrays(change: Callable[[Tensor, Tensor], object] = lambda pixels, labels: None) -> ArrayPictures:
    pixels, labels = torch.arange(4 * 3 * 2 * 2).byte().view(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])
    change(pixels, labels)
    return ArrayPictures(pixels, labels)


def test_a_fingerprint_of_arrays_tells_pictures_and_labels_apart() -> None:
    def one_pixel(pixels: Tensor, labels: Tensor) -> None:
        pixels[3, 2, 1, 1] += 1

    def one_label(pixels: Tensor, labels: Tensor) -> None:
        labels[3] = 0

    assert arrays().fingerprint(Classes()) == arrays().fingerprint(Classes())
    assert len({made.fingerprint(Classes()) for made in (arrays(), arrays(one_pixel), arrays(one_label))}) == 3
    assert arrays().content == arrays(one_label).content != arrays(one_pixel).content


class Taught(ArrayPictures):
    def __init__(self, teacher: Tensor) -> None:
        super().__init__(arrays().pixels, arrays().labels)
        self.teacher = teacher

    def targets(self, index: Tensor) -> dict[str, Tensor]:
        return {"label": self.labels[index], "teacher": self.teacher[index]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_targets_by_name_have_a_digest_beside_the_fingerprint(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.data.source.CHUNK", 3)
    assert arrays().named_targets is None
    teacher = torch.arange(12).view(4, 3).to(dtype)
    other = teacher.clone()
    other[3, 2] += 1
    made = [Taught(it) for it in (teacher, teacher.clone(), other)]
    first, same, changed = (it.named_targets for it in made)
    assert first == same != changed
    assert {it.fingerprint(Classes()) for it in made} == {arrays().fingerprint(Classes())}


def test_a_fingerprint_of_files_is_the_same_wherever_they_lie(files: FilePictures, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in files.files:
        (moved / file.name).write_bytes(file.read_bytes())
    names = [moved / file.name for file in files.files]
    assert FilePictures(names, files.labels, root=moved, spec=SPEC).fingerprint(Classes()) == files.fingerprint(
        Classes()
    )
    swapped = FilePictures(names, files.labels.flip(0), root=moved, spec=SPEC)
    assert swapped.content == files.content
    fewer = FilePictures(names[:2], files.labels[:2], root=moved, spec=SPEC)
    assert len({kind.fingerprint(Classes()) for kind in (files, swapped, fewer)}) == 3


def test_the_centre_is_cut_as_torchvision_cuts_it(files: FilePictures) -> None:
    wide = read_picture(files.files[0], SPEC)
    assert torch.equal(files.fetch([0], whole=False)[0][0], F.center_crop(wide, [16]))
