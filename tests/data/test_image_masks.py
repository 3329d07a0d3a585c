"""Pictures with a mask each, in folders as users have them, and what is wrong with them."""

import shutil
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.data.module import Data
from frostline.data.pictures.image_masks import ImageMasks
from frostline.data.pictures.masks import MaskedPictures, mask_values, palette_of, usual_palette
from frostline.errors import ConfigError, DataError
from frostline.tasks.segmentation import IGNORED
from tiny_masks import PALETTE, put, rectangles, save

SPEC = ImageSpec(size=32, resize=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture
def own(common: dict[str, Any]) -> dict[str, Any]:
    settings = {"classes": None, "ignore": [255], "mask_suffix": "", "sides": None, "tile": None, "grey_range": None}
    return common | settings | {"target_kind": "masks", "batch_size": 4}


def masks_in(data: Data) -> dict[str, Tensor]:
    """The targets of all training pictures of a source, by name."""
    source = data.train_split.source
    assert isinstance(source, MaskedPictures)
    return {file.stem: source.scored_targets(torch.tensor([place]))[0][0] for place, file in enumerate(source.files)}


def files_of(data: Data) -> list[list[str]]:
    found = []
    for split in data.splits:
        assert isinstance(split.source, MaskedPictures)
        found.append(sorted(split.source.files[place].stem for place in split.index.tolist()))
    return found


# --- folders ---


def test_without_parts_the_pictures_are_divided_and_every_class_is_in_training(
    tmp_path: Path, own: dict[str, Any]
) -> None:
    data = data_of(ImageMasks, SPEC, dir=str(put(tmp_path)), **own)
    names = files_of(data)
    assert sorted(chain(*names)) == sorted(f"p{place:02}" for place in range(24))
    assert [len(split) for split in names] == [17, 2, 5]
    assert data.names == ["0", "1", "2"]
    expected = np.stack([np.bincount(rectangles(place).ravel(), minlength=3) for place in range(24)])
    chosen = [int(name[1:]) for name in names[0]]
    assert data.targets.counts == expected[chosen].sum(0).tolist()
    assert data.targets.about == {"palette": PALETTE + usual_palette()[12:], "values": [0, 1, 2]}
    assert data.notes() == []


@pytest.mark.parametrize("above", [False, True], ids=["images/train", "train/images"])
@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "valid", "TEST")])
def test_parts_may_stand_below_or_above(above: bool, names: Sequence[str], tmp_path: Path, own: dict[str, Any]) -> None:
    for number, split in zip((8, 4, 5), names, strict=True):
        put(tmp_path / "below", number, split=split)
        for kind in ("images", "masks"):
            shutil.copytree(tmp_path / "below" / kind / split, tmp_path / "above" / split / kind)
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path / ("above" if above else "below")), **own)
    assert [len(split) for split in files_of(data)] == [8, 4, 5]
    assert data.notes() == [note for note in data.notes() if "in both" in note]  # the same pictures in each split


def test_a_part_that_is_missing_is_split_off(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path, 20, split="train")
    put(tmp_path, 5, split="test")
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    assert [len(split) for split in files_of(data)] == [18, 2, 5]


def test_a_split_takes_the_same_fraction_of_pictures_of_the_rarest_class(tmp_path: Path, own: dict[str, Any]) -> None:
    """Class 2 is in 10 of 50 pictures: a test split of a fifth has 2, a validation split of a quarter 2 of 8."""
    for place in range(50):
        save(tmp_path, f"p{place:02}", rectangles(place, (0, 1, 2) if place % 5 == 0 else (0, 1)))
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"val_fraction": 0.25, "test_fraction": 0.2})
    shows = [sum(int(name[1:]) % 5 == 0 for name in split) for split in files_of(data)]
    assert shows == [6, 2, 2]


def test_a_limited_training_part_shows_each_class(tmp_path: Path, own: dict[str, Any]) -> None:
    for place in range(50):
        save(tmp_path, f"p{place:02}", rectangles(place, (0, 1, 2) if place % 5 == 0 else (0, 1)))
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"train_limit": 4})
    assert len(data.train_split) == 4
    assert sum(int(name[1:]) % 5 == 0 for name in files_of(data)[0]) == 2
    assert min(data.targets.counts) > 0


def test_a_suffix_of_masks(tmp_path: Path, own: dict[str, Any]) -> None:
    data = data_of(ImageMasks, SPEC, dir=str(put(tmp_path, suffix="_mask")), **own | {"mask_suffix": "_mask"})
    assert sum(map(len, files_of(data))) == 24
    with pytest.raises(DataError, match=r"24 pictures without a mask, 24 masks without a picture") as refused:
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    assert refused.value.next_step == "data.mask_suffix=_mask"


def test_what_has_no_partner_is_counted_and_told(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    for file in ("masks/p00.png", "masks/p01.png", "images/p02.png"):
        (tmp_path / file).unlink()
    (tmp_path / "images" / "notes.txt").write_text("")
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    assert sum(map(len, files_of(data))) == 21
    assert data.notes() == ["skipped: 2 pictures without a mask, 1 of .txt, 1 masks without a picture"]


def test_pictures_beside_the_parts_are_told(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path, 8, split="train")
    save(tmp_path, "loose", rectangles(90))
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"val_fraction": 0.3, "test_fraction": 0.3})
    assert "skipped: 1 pictures beside the folders train, val and test" in data.notes()


def test_a_part_of_training_is_needed(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path, split="test")
    with pytest.raises(DataError, match="no training picture with a mask"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)


@pytest.mark.parametrize("folder", ["absent", "empty"])
def test_folders_without_pictures_are_refused(folder: str, tmp_path: Path, own: dict[str, Any]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such data folder" if folder == "absent" else "no picture with a mask"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path / folder), **own)


# --- masks ---


@pytest.mark.parametrize("mode", ["P", "L", "1", "L;2", "L;4"])
def test_values_of_a_mask_are_read_as_they_were_written(mode: str, tmp_path: Path) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    file = tmp_path / "mask.png"
    if mode == "1":
        Image.fromarray(values.astype(bool)).save(file)
    elif ";" in mode:
        values = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
        write_grey(file, values, int(mode[-1]))
    else:
        picture = Image.fromarray(values)
        if mode == "P":
            picture.putpalette([9, 9, 9, 200, 0, 0])
        picture.save(file)
    assert mask_values(file).tolist() == values.tolist()
    assert palette_of(file)[:6] == ([9, 9, 9, 200, 0, 0] if mode == "P" else [0, 0, 0, 128, 0, 0])
    assert len(palette_of(file)) == 768


def write_grey(file: Path, values: np.ndarray, bits: int) -> None:
    """A PNG of 2 or 4 bits of grey, which Pillow reads and does not write (PNG specification, 11.2.2)."""
    rows = b""
    for row in values.tolist():
        packed = "".join(f"{value:0{bits}b}" for value in row).ljust(-(-len(row) * bits // 8) * 8, "0")
        rows += b"\0" + int(packed, 2).to_bytes(len(packed) // 8, "big")

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_the_usual_palette_is_that_of_pascal_voc() -> None:
    """Colours of background, aeroplane, bicycle, bird and tv monitor (VOC2012 development kit)."""
    colours = np.array(usual_palette()).reshape(256, 3)
    assert colours[[0, 1, 2, 3, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 64, 128]]
    assert colours[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_masks_of_other_modes_are_refused(mode: str, tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    Image.new(mode, (64, 48)).save(tmp_path / "masks" / "p03.png")
    with pytest.raises(DataError, match=f"has the mode {mode}") as refused:
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    assert refused.value.where == tmp_path / "masks" / "p03.png"


def test_a_mask_with_loss_is_refused(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    (tmp_path / "masks" / "p03.png").unlink()
    Image.fromarray(rectangles(3)).save(tmp_path / "masks" / "p03.jpg")
    with pytest.raises(DataError, match="JPEG file changes the values"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)


def test_every_mask_that_does_not_fit_is_told(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    Image.fromarray(rectangles(1)[:40]).save(tmp_path / "masks" / "p01.png")
    Image.fromarray(rectangles(2, (0, 1, 7))).save(tmp_path / "masks" / "p02.png")
    with pytest.raises(DataError) as refused:
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"classes": ["a", "b", "c"]})
    assert "2 masks do not fit:" in refused.value.what
    assert "p01.png: the mask has 40 × 64 pixels, but its picture 48 × 64" in refused.value.what
    assert "p02.png: the mask has pixels of the value 7, which is not a class" in refused.value.what
    assert "data.ignore=[255,7]  # if" in refused.value.next_step, "255 does not count already"


def test_masks_that_cannot_be_read_are_told_together(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    for name in ("p01", "p02"):
        (tmp_path / "masks" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="2 masks cannot be read"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)


def test_pictures_that_cannot_be_read_are_told_together(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    for name in ("p01", "p02"):
        (tmp_path / "images" / f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="2 pictures cannot be read"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)


def test_a_picture_that_a_camera_turned_has_a_mask_as_it_is_shown(tmp_path: Path, own: dict[str, Any]) -> None:
    """Orientation 6 of EXIF: the file lies on its left side, 48 × 64, and is shown 64 × 48."""
    put(tmp_path)
    mask = rectangles(99)
    save(tmp_path, "turned", mask)
    with Image.open(tmp_path / "images" / "turned.png") as shown:
        lying, exif = shown.transpose(Image.Transpose.ROTATE_90), Image.Exif()
        upright = np.asarray(shown).copy()
    exif[0x0112] = 6
    lying.save(tmp_path / "images" / "turned.png", exif=exif)
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"sides": [32, 64]})
    source = data.train_split.source
    assert isinstance(source, MaskedPictures)
    place = [file.stem for file in source.files].index("turned")
    assert masks_in(data)["turned"].tolist() == mask.tolist()
    pictures, _ = source.fetch([place], whole=False)
    expected = np.asarray(Image.fromarray(upright).resize((64, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(pictures[0].permute(1, 2, 0).numpy(), expected)


# --- classes ---


def test_names_come_from_the_setting_then_from_a_file_then_from_values(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path), **own).names == ["0", "1", "2"]
    (tmp_path / "classes.txt").write_text("\ufeffroad\nsky \ncar\n\n", encoding="utf-8")
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path), **own).names == ["road", "sky", "car"]
    named = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"classes": ["x", 7, "z"]})
    assert named.names == ["x", "7", "z"]


def test_a_file_of_names_with_a_hole_is_refused(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    (tmp_path / "classes.txt").write_text("road\n\ncar\n")
    with pytest.raises(DataError, match="line 2 is empty, but names the value 1"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    (tmp_path / "classes.txt").write_text("road\ncar\nroad\n")
    with pytest.raises(DataError, match="two classes are called 'road'"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)


@pytest.mark.parametrize("ignore", [[0], [1, 255]])
def test_ignored_values_are_no_classes(ignore: list[int], tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    named = own | {"classes": ["road", "sky", "car"], "ignore": ignore}
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **named)
    left = [value for value in (0, 1, 2) if value not in ignore]
    assert data.names == [["road", "sky", "car"][value] for value in left]
    assert data.targets.about["values"] == left
    expected = np.full((48, 64), IGNORED)
    for place, value in enumerate(left):
        expected[rectangles(5) == value] = place
    assert masks_in(data)["p05"].tolist() == expected.tolist()
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"ignore": ignore}).targets.about["values"] == left


def test_masks_of_0_and_255_lead_to_a_setting_that_works(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path, values=(0, 255), palette=False)
    for named in (None, ["background", "thing"]):
        with pytest.raises(DataError, match="pixels of the value 255 do not count") as refused:
            data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"classes": named})
        assert "data.classes=null data.ignore=[]" in refused.value.next_step
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"ignore": []})
    assert (data.names, data.targets.about["values"]) == (["0", "255"], [0, 255])
    assert set(masks_in(data)["p03"].unique().tolist()) == {0, 1}


def test_a_rare_class_leads_to_a_setting_that_works(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    save(tmp_path, "rare", rectangles(77, (0, 1, 3)))
    with pytest.raises(DataError, match="'3' has 1") as refused:
        data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    assert "data.ignore=[255,3]" in refused.value.next_step
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"ignore": [255, 3]}).names == ["0", "1", "2"]


def test_a_value_that_no_mask_can_hold_is_refused(tmp_path: Path, own: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="values up to 255, not 300"):
        data_of(ImageMasks, SPEC, dir=str(put(tmp_path)), **own | {"ignore": [255, 300]})


def test_another_folder_is_read_with_the_values_of_the_run(tmp_path: Path, own: dict[str, Any]) -> None:
    """The masks there show two of the three classes, whose values are 0, 2 and 200."""
    put(tmp_path, 5, values=(0, 200))
    known = Targets("masks", ["0", "2", "200"], [5, 5, 5], {"values": [0, 2, 200], "palette": usual_palette()})
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), known=known, **own)
    assert data.targets == known
    assert set(data.test_split.targets(torch.arange(5))[0].unique().tolist()) == {0, 2}
    with pytest.raises(DataError, match="of the value 7, which is not a class"):
        data_of(ImageMasks, SPEC, dir=str(put(tmp_path / "other", 5, values=(0, 7))), known=known, **own)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="of the value 200, which is not a class"):
        data_of(ImageMasks, SPEC, dir=str(tmp_path), known=known, **own)


# --- what a network gets ---


def test_sides_follow_the_usual_aspect(tmp_path: Path, own: dict[str, Any]) -> None:
    data = data_of(ImageMasks, SPEC, dir=str(put(tmp_path)), **own)  # 48 × 64: the shorter side is 32, the other 42.7
    assert data.chosen() == {"data.batch_size": 4, "data.sides": [32, 32], "data.tile": [48, 64]}
    data = data_of(ImageMasks, SPEC.at(96), dir=str(tmp_path), **own)
    assert data.chosen() == {"data.batch_size": 4, "data.sides": [96, 128], "data.tile": [48, 64]}
    assert data.example().shape == (1, 3, 96, 128)
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own | {"sides": [64, 32], "tile": [10, 20]})
    batch = data.train_split.__getitems__([0, 1])
    assert not isinstance(batch, DataError)
    assert batch.pictures.shape == (2, 3, 64, 32)
    assert batch.targets.shape == (2, 64, 32)
    assert data.chosen()["data.tile"] == [10, 20]
    scored = data.test_split.__getitems__([0, 1])
    assert not isinstance(scored, DataError)
    assert scored.own_sizes is not None
    assert (scored.targets.shape, scored.own_sizes.tolist()) == ((2, 48, 64), [[48, 64], [48, 64]])


@pytest.mark.parametrize(
    ("sides", "spec", "said", "step"),
    [
        ([100, 64], SPEC, "a multiple of 32", "data.sides=[96,64]"),
        ([32, 64], replace(SPEC, min_size=75), "from 96 up", "data.sides=[96,96]"),
        ([64, 64], replace(SPEC, sizes="fixed"), "pictures of 32 pixels only", "data.sides=[32,32]"),
        ([64], SPEC, "two sides are needed", "data.sides=[64,64]"),
    ],
)
def test_sides_that_a_network_does_not_take_are_refused(
    sides: list[int], spec: ImageSpec, said: str, step: str, tmp_path: Path, own: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        data_of(ImageMasks, spec, dir=str(put(tmp_path)), **own | {"sides": sides})
    assert refused.value.next_step == step


def test_a_mask_is_resized_without_mixing_values(tmp_path: Path, own: dict[str, Any]) -> None:
    """Enlarged by two, each pixel of a mask becomes four of its own value."""
    data = data_of(ImageMasks, SPEC, dir=str(put(tmp_path)), **own | {"sides": [96, 128]})
    source = data.train_split.source
    small, large = source.scored_targets(torch.arange(4))[0], source.targets(torch.arange(4))
    assert torch.equal(large, small.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_masks_of_mixed_sizes_are_padded_with_what_does_not_count(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    save(tmp_path, "tall", rectangles(50, size=(40, 90)))
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    source = data.train_split.source
    masks, sizes = source.scored_targets(torch.tensor([0, 24]))
    assert sizes is not None
    assert (masks.shape, sizes.tolist()) == ((2, 90, 64), [[48, 64], [90, 40]])
    assert masks[0, 48:].unique().tolist() == masks[1, :, 40:].unique().tolist() == [IGNORED]
    assert masks[1, :, :40].tolist() == rectangles(50, size=(40, 90)).tolist()


def test_grey_pictures_of_16_bits_are_read_in_one_range(tmp_path: Path, own: dict[str, Any]) -> None:
    put(tmp_path)
    for place in range(24):
        grey = 100 * rectangles(place).astype(np.uint16) + 10 * place
        Image.fromarray(grey).save(tmp_path / "images" / f"p{place:02}.png")
    data = data_of(ImageMasks, SPEC, dir=str(tmp_path), **own)
    assert data.chosen()["data.grey_range"] == [0.0, 1023.0]
    assert "24 grey pictures have more than 8 bits" in data.notes()[0]


def test_one_pixel_of_a_mask_makes_another_fingerprint(tmp_path: Path, own: dict[str, Any]) -> None:
    """Two pixels that change places leave the pixels of each class as they were."""
    before = data_of(ImageMasks, SPEC, dir=str(put(tmp_path)), **own).fingerprint
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path), **own).fingerprint == before
    mask = rectangles(7)
    row, column = np.argwhere(mask == 1)[0]
    mask[0, 0], mask[row, column] = 1, 0
    assert (mask != rectangles(7)).sum() == 2
    picture = Image.fromarray(mask)
    picture.putpalette(PALETTE)
    picture.save(tmp_path / "masks" / "p07.png")
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path), **own).fingerprint != before


def test_where_the_data_lies_makes_no_other_fingerprint(tmp_path: Path, own: dict[str, Any]) -> None:
    before = data_of(ImageMasks, SPEC, dir=str(put(tmp_path / "here")), **own).fingerprint
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert data_of(ImageMasks, SPEC, dir=str(tmp_path / "there"), **own).fingerprint == before


# --- real masks ---


def test_masks_of_camvid(shared: Path, tmp_path: Path, own: dict[str, Any]) -> None:
    """Masks of 11 classes; 11 is void. Counts of pixels are those of the files."""
    with zipfile.ZipFile(shared / "camvid" / "camvid_subset.zip") as archive:
        archive.extractall(tmp_path)
    assert (tmp_path / "classes.txt").read_text().split()[11] == "unlabelled"
    data = data_of(ImageMasks, SPEC.at(64), dir=str(tmp_path), **own | {"ignore": [11]})
    names = (tmp_path / "classes.txt").read_text().split()
    assert data.names == [name for value, name in enumerate(names) if value != 11]
    assert 2 * sum(map(len, files_of(data))) == len([*tmp_path.glob("*/*/*.*")])
    assert data.chosen()["data.sides"] == [64, 96]
    assert not [note for note in data.notes() if "skipped" in note]
    pixels = np.zeros(256, np.int64)
    for file in (tmp_path / "masks" / "train").iterdir():
        with Image.open(file) as mask:
            pixels += np.bincount(np.asarray(mask).ravel(), minlength=256)
    assert data.targets.counts == pixels[:11].tolist()
