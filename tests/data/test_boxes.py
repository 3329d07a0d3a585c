"""Readers of boxes: every format gives the same, what cannot be used is counted, what is wrong is named."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.data.boxes.reader import BoxedPictures
from frostline.data.boxes.sources import PicturesWithBoxes
from frostline.data.module import Data
from frostline.data.target_types.find import target_type
from frostline.errors import FrostlineError
from tiny_boxes import NAMES, PUT, SIZE, boxes_of, coco, picture_of, put_coco, put_voc, put_yolo, voc

SPEC = ImageSpec(32, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Read = Callable[..., Data]
SIZES = {"train": 12, "val": 4, "test": 6}


@pytest.fixture
def read(common: dict[str, Any]) -> Read:
    def read(folder: Path, **settings: Any) -> Data:
        own = {"format": None, "classes": None, "sides": None, "grey_range": None, "batch_size": 4} | settings
        return data_of(BoxedPictures, SPEC, target_kind="boxes", dir=str(folder), **common | own)

    return read


def rows_of(data: Data) -> list[list[list[float]]]:
    """All boxes (left, top, right, bottom, class) of each picture, over the splits."""
    found = []
    for split in data.splits:
        source = split.source
        assert isinstance(source, PicturesWithBoxes)
        found += [source.boxes[place][:, :5].tolist() for place in split.index.tolist()]
    return found


@pytest.mark.parametrize("form", PUT)
def test_every_format_gives_the_same_boxes(form: str, tmp_path: Path, read: Read) -> None:
    data = read(PUT[form](tmp_path, SIZES))
    assert [len(split) for split in data.splits] == [12, 4, 6]
    assert set(data.names) == {*NAMES}
    place = {name: data.names.index(name) for name in NAMES}
    wanted = [[[*map(float, box[:4]), float(place[NAMES[box[4]]])] for box in boxes_of(number)] for number in range(22)]
    for found, own in zip(rows_of(data), wanted, strict=True):
        assert torch.allclose(torch.tensor(found), torch.tensor(own), atol=1e-4)
    assert data.targets.counts == [
        sum(NAMES[box[4]] == name for number in range(12) for box in boxes_of(number)) for name in data.names
    ]
    assert any("2 pictures have no box" in note for note in data.notes())


def test_targets_have_the_size_of_the_view_and_scores_that_of_the_picture(tmp_path: Path, read: Read) -> None:
    data = read(put_coco(tmp_path, SIZES), sides=[32, 96])
    batch = data.train_split.__getitems__([0, 1, 7])
    left, top, right, bottom, label = boxes_of(0)[0]
    scale = torch.tensor([96 / 64, 32 / 48] * 2)
    expected = torch.tensor([left, top, right, bottom]) * scale
    assert torch.allclose(batch.targets[0, 0, :4], expected)  # type: ignore[union-attr]
    assert batch.targets[0, 0, 4] == 1 - label  # type: ignore[union-attr]  # sorted by id: 3 is green, 7 is red
    assert batch.targets.shape == (3, 2, 5)  # type: ignore[union-attr]
    assert (batch.targets[2] == -1).all()  # type: ignore[union-attr]  # picture 7 has no box
    scored = data.val_split.__getitems__([0])
    assert scored.own_sizes.tolist() == [[48, 64]]  # type: ignore[union-attr]
    assert scored.targets[0, 0, :4].tolist() == [*boxes_of(12)[0][:4]]  # type: ignore[union-attr]


def one_picture(folder: Path, *boxes: list[float], **more: Any) -> Path:
    """A COCO set of three usual pictures and one with these boxes (x, y, width, height) of the class red."""
    own = {f"p{place}.png": boxes_of(place) for place in range(3)}
    said = coco(own | {"odd.png": []})
    said["annotations"] += [
        {"id": 100 + place, "image_id": 13, "category_id": 7, "bbox": box, **more} for place, box in enumerate(boxes)
    ]
    for place, name in enumerate(own):
        picture_of(place, own[name]).save(folder / name)
    picture_of(3, []).save(folder / "odd.png")
    (folder / "boxes.json").write_text(json.dumps(said))
    return folder


def odd_rows(folder: Path) -> tuple[list[list[float]], str]:
    reader = BoxedPictures(dir=str(folder), format=None, classes=None, group_pattern=None)
    found = reader.read(target_type("boxes"), None)
    place = [file.name for file in found.train.files].index("odd.png")
    return found.train.boxes[place].tolist(), " ".join(found.notes)


def test_boxes_that_cannot_be_used_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = one_picture(
        tmp_path, [5, 5, 0, 10], [5, 5, 10, 0], [64, 3, 10, 10], [-20, 0, 10, 10], [50, 40, 30, 30], [1, 1, 9, 9],
        [1, 1, 9, 9],
    )  # fmt: skip
    rows, notes = odd_rows(folder)
    assert [row[:4] for row in rows] == [[50, 40, 64, 48], [1, 1, 10, 10]]
    assert "2 boxes without area" in notes
    assert "2 boxes outside their picture" in notes
    assert "1 repeated boxes" in notes
    assert "one box reaches beyond its picture and is cut" in notes


def test_crowds_are_scored_but_not_learned(tmp_path: Path) -> None:
    folder = one_picture(tmp_path, [1, 1, 9, 9], iscrowd=1, area=50.0)
    rows, _ = odd_rows(folder)
    assert rows == [[1, 1, 10, 10, 1, 1, 50]]
    source = PicturesWithBoxes([folder / "odd.png"], [torch.tensor(rows)], [SIZE], 2, root=folder, spec=SPEC)
    assert source.labels.tolist() == [[0, 0]]
    assert source.targets(torch.tensor([0])).shape == (1, 0, 5)
    assert source.scored_targets(torch.tensor([0]))[0].tolist() == [[[1, 1, 10, 10, 1, 1, 50]]]


def test_objects_that_voc_calls_difficult_are_crowds(tmp_path: Path, read: Read) -> None:
    put_voc(tmp_path, SIZES)
    (tmp_path / "Annotations" / "p00.xml").write_text(voc([(1, 2, 10, 12, 0), (20, 2, 30, 12, 0)], difficult=[1]))
    data = read(tmp_path)
    source = data.train_split.source
    assert isinstance(source, PicturesWithBoxes)
    assert source.boxes[0][:, 5].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("orientation", "as_stored"), [(it, False) for it in range(1, 9)] + [(it, True) for it in range(5, 9)]
)
def test_boxes_follow_the_rotation_of_exif(orientation: int, as_stored: bool, tmp_path: Path) -> None:
    """An annotation that states the size of the stored picture, which differs from 5 on, was made without rotation."""
    folder = one_picture(tmp_path)
    stored = picture_of(3, [(20, 5, 50, 12, 0)])
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(folder / "odd.png", exif=exif)
    with Image.open(folder / "odd.png") as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    red = [(x, y) for x in range(upright.width) for y in range(upright.height) if upright.getpixel((x, y))[0] > 200]  # type: ignore[index]
    left, top = min(x for x, _ in red), min(y for _, y in red)
    right, bottom = max(x for x, _ in red) + 1, max(y for _, y in red) + 1
    said = json.loads((folder / "boxes.json").read_text())
    box = [20, 5, 30, 7] if as_stored else [left, top, right - left, bottom - top]
    said["annotations"].append({"id": 9, "image_id": 13, "category_id": 7, "bbox": box})
    said["images"][3] |= dict(zip(("width", "height"), stored.size if as_stored else upright.size, strict=True))
    (folder / "boxes.json").write_text(json.dumps(said))
    rows, _ = odd_rows(folder)
    assert [row[:4] for row in rows] == [[left, top, right, bottom]]


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "annotations" / "instances_train.json"
        said = json.loads(file.read_text())
        change(said)
        file.write_text(json.dumps(said))

    return edit


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


FIRST = "annotations/instances_train.json"
WRONG: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("coco", edited(lambda it: it["annotations"][0].update(bbox=[9, 9, -3, 4])), ["annotation 1", "before its left"]),
    ("coco", edited(lambda it: it["annotations"][1].update(bbox=[9, 9, 3])), ["annotation 2", "[x, y, width, height]"]),
    ("coco", edited(lambda it: it["annotations"][0].update(bbox=[9, "a", 3, 3])), ["annotation 1", "its bbox is not"]),
    ("coco", edited(lambda it: it["annotations"][0].update(bbox=[9, float("nan"), 3, 3])), ["annotation 1"]),
    ("coco", edited(lambda it: it["annotations"][0].update(image_id=99)), ["annotation 1", "no picture has the id 99"]),
    ("coco", edited(lambda it: it["annotations"][0].update(category_id=5)), ["no category has the id 5"]),
    (
        "coco",
        edited(lambda it: it["categories"][0].update(name="green")),
        ["two categories have the same name 'green'"],
    ),
    ("coco", edited(lambda it: it["categories"][0].update(id=3)), ["two categories have the same id"]),
    ("coco", edited(lambda it: it["images"][0].update(id=11)), ["two pictures have the same id"]),
    ("coco", edited(lambda it: it["images"][0].update(width=640)), ["640 × 48 pixels", "has 64 × 48"]),
    ("coco", edited(lambda it: it.update(annotations={"bbox": 3})), ["no list 'annotations'"]),
    ("coco", written(FIRST, '{"images": "annotations" "bbox"'), ["is not JSON", FIRST]),
    ("coco", removed("train/p01.png"), ["'p01.png' (id 11) is missing"]),
    ("coco", written("train/p01.png", "no picture"), ["p01.png", "does not decode"]),
    ("coco", edited(lambda it: it["annotations"][0].update(image_id=[10])), ["annotation 1", "no picture has the id"]),
    ("coco", edited(lambda it: it["annotations"][0].update(category_id={})), ["annotation 1", "no category has"]),
    ("coco", edited(lambda it: it["annotations"][0].update(iscrowd="yes")), ["annotation 1", "iscrowd"]),
    ("coco", edited(lambda it: it["annotations"][0].update(bbox=[1, 1, 10**400, 3])), ["annotation 1", "its bbox"]),
    ("coco", edited(lambda it: it["annotations"][0].pop("image_id")), ["annotation 1", "no picture has the id None"]),
    ("coco", edited(lambda it: it["images"][0].pop("id")), ["one has none"]),
    ("coco", edited(lambda it: it["images"][0].update(width="640")), ["picture 10", "not two whole numbers"]),
    ("coco", edited(lambda it: it["images"][0].update(file_name="../../etc/passwd")), ["passwd", "is missing"]),
    ("coco", edited(lambda it: it["images"][0].update(file_name="x" * 5000)), ["is missing"]),
    ("coco", edited(lambda it: it["categories"][0].update(id=[3])), ["no id or no name"]),
    (
        "voc",
        written("Annotations/p00.xml", voc([]).replace("<width>64", "<width>6a")),
        ["p00.xml, size", "whole numbers"],
    ),
    ("voc", written("Annotations/p00.xml", '<?xml version="1.0" encoding="x"?><a/>'), ["p00.xml", "is not XML"]),
    (
        "voc",
        written("Annotations/p00.xml", voc([(3, 5, 20, 9, 0)]).replace("<difficult>0", "<difficult>x")),
        ["object 1"],
    ),
    ("yolo", written("labels/train/p00.txt", "1e400 0.5 0.5 0.1 0.1"), ["there is no class 1e400"]),
    ("yolo", written("labels/train/p00.txt", "0.5 0.5 0.5 0.1 0.1"), ["there is no class 0.5"]),
    ("yolo", written("labels/train/p00.txt", "0 0.5 0.5 nan 0.1"), ["are not shares"]),
    ("yolo", written("labels/train/p00.txt", "0 0.5 0.5 0.1 0.1 0.2 0.2 2 0.3 0.3"), ["10 numbers"]),
    ("yolo", written("data.yaml", "names: [red, red]"), ["two classes are called 'red'"]),
    ("yolo", written("data.yaml", "names: {0: red, a: green}"), ["no names of classes"]),
    ("voc", written("Annotations/p00.xml", "<annotation>"), ["p00.xml", "is not XML"]),
    ("voc", written("Annotations/p00.xml", voc([(30, 5, 20, 9, 0)])), ["object 1", "before its left"]),
    ("voc", written("Annotations/p00.xml", voc([(3, 5, 20, 9, 0)]).replace("<xmax>20", "<xmax>x")), ["object 1"]),
    ("voc", removed("JPEGImages/p02.png"), ["p02.xml", "is missing"]),
    ("voc", removed("Annotations/p02.xml"), ["1 of the listed pictures have no annotation, such as 'p02'"]),
    ("yolo", written("labels/train/p00.txt", "0 0.5 0.5 0.1"), ["p00.txt, line 1", "4 numbers"]),
    ("yolo", written("labels/train/p00.txt", "\n0 0.5 0.5 0.1 a"), ["line 2", "other than numbers"]),
    ("yolo", written("labels/train/p00.txt", "7 0.5 0.5 0.1 0.1"), ["there is no class 7 among 2 names"]),
    ("yolo", written("labels/train/p00.txt", "0 30 20 10 10"), ["are not shares"]),
    ("yolo", written("labels/train/p00.txt", "0 0.5 0.5 -0.1 0.1"), ["line 1", "before its left"]),
    ("yolo", written("data.yaml", "names: 3"), ["no names of classes"]),
    ("yolo", written("data.yaml", "names: ["), ["is not YAML"]),
]


@pytest.mark.parametrize(("form", "change", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(
    form: str, change: Callable[[Path], object], said: list[str], tmp_path: Path, read: Read
) -> None:
    change(PUT[form](tmp_path, SIZES))
    with pytest.raises(FrostlineError) as caught:
        read(tmp_path)
    for text in said:
        assert text in str(caught.value)


def test_formats_are_told_apart(tmp_path: Path, read: Read) -> None:
    for form, put in PUT.items():
        put(tmp_path / form, SIZES)
        assert len(read(tmp_path / form, format=form).train_split) == 12
    with pytest.raises(FrostlineError, match=r"no annotations of the format voc(.|\n)*data.format=coco"):
        read(tmp_path / "coco", format="voc")
    put_yolo(tmp_path / "coco", SIZES)
    with pytest.raises(FrostlineError, match=r"annotations of 2 formats(.|\n)*data.format=coco(.|\n)*data.format=yolo"):
        read(tmp_path / "coco")
    (tmp_path / "none").mkdir()
    with pytest.raises(FrostlineError, match=r"has no annotations(.|\n)*data.format=voc"):
        read(tmp_path / "none")
    with pytest.raises(FrostlineError, match="no such data folder"):
        read(tmp_path / "nowhere")


def test_files_of_other_kinds_are_counted(tmp_path: Path, read: Read) -> None:
    put_coco(tmp_path, {"train": 12, "val": 4, "test": 6})
    captions = {"images": [], "annotations": [{"image_id": 1, "caption": "a cell"}]}
    (tmp_path / "annotations" / "captions_train.json").write_text(json.dumps(captions))
    (tmp_path / "train" / "beside.png").write_bytes((tmp_path / "train" / "p00.png").read_bytes())
    notes = " ".join(read(tmp_path).notes())
    assert "1 annotation files of other kinds" in notes
    assert "1 pictures that no annotation file names" in notes


def test_a_split_without_boxes_cannot_be_scored(tmp_path: Path, read: Read) -> None:
    """COCO's own test split has none; the test split is not taken from elsewhere in silence."""
    put_coco(tmp_path, SIZES)
    file = tmp_path / "annotations" / "instances_test.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    with pytest.raises(FrostlineError, match="no picture of the test split has a box to score"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["latest", "contest", "evaluation", "interval", "detrain"])
def test_words_that_contain_the_name_of_a_split_are_none(name: str, tmp_path: Path, read: Read) -> None:
    put_coco(tmp_path, {"train": 30})
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "train" / f"{name}.json")
    assert [len(split) for split in read(tmp_path).splits] == [21, 3, 6]


def test_a_class_without_boxes_is_left_out(tmp_path: Path, read: Read) -> None:
    put_coco(tmp_path, SIZES)
    edited(lambda it: it["categories"].append({"id": 9, "name": "blue"}))(tmp_path)
    data = read(tmp_path)
    assert data.names == ["green", "red"]
    assert any("classes without a training box are left out: blue" in note for note in data.notes())


def test_boxes_below_a_pixel_are_not_learned_but_scored(tmp_path: Path, read: Read) -> None:
    """A view of a sixteenth of the picture's sides: boxes of 10 to 14 pixels are below one."""
    put_coco(tmp_path, SIZES)
    large = read(tmp_path, sides=[32, 64])
    assert not any("smaller than a pixel" in note for note in large.notes())
    first = tmp_path / "annotations" / "instances_train.json"
    said = json.loads(first.read_text())
    said["annotations"][0]["bbox"][2] = 0.4
    first.write_text(json.dumps(said))
    data = read(tmp_path, sides=[32, 64])
    assert any("one box is smaller than a pixel at 32 × 64 and not learned" in note for note in data.notes())
    source = data.train_split.source
    assert isinstance(source, PicturesWithBoxes)
    assert (source.targets(torch.tensor([0]))[..., 4] >= 0).sum() == len(boxes_of(0)) - 1
    assert len(source.boxes[0]) == len(boxes_of(0))


def test_key_points_after_a_box_are_not_taken_for_an_outline(tmp_path: Path, read: Read) -> None:
    put_yolo(tmp_path, SIZES)
    (tmp_path / "data.yaml").write_text("names: [red, green]\nkpt_shape: [2, 3]\n")
    for file in (tmp_path / "labels").rglob("*.txt"):
        file.write_text("".join(f"{line} 0.1 0.1 2 0.9 0.9 2\n" for line in file.read_text().splitlines()))
    plain = read(put_yolo(tmp_path / "plain", SIZES))
    assert rows_of(read(tmp_path)) == rows_of(plain)


def test_pictures_of_one_stem_are_told_apart_by_filename(tmp_path: Path, read: Read) -> None:
    put_voc(tmp_path, SIZES)
    picture = tmp_path / "JPEGImages" / "p00.png"
    picture.with_suffix(".jpg").write_bytes(picture.read_bytes())
    with pytest.raises(FrostlineError, match="2 pictures have the name of this annotation"):
        read(tmp_path)
    (tmp_path / "Annotations" / "p00.xml").write_text(voc(boxes_of(0), name="p00.png"))
    source = read(tmp_path).train_split.source
    assert source.name_of(0).endswith("p00.png")


def test_lists_of_voc_may_overlap_and_name_some(tmp_path: Path, read: Read) -> None:
    """trainval.txt without train.txt: the training pictures are those that val.txt does not name."""
    put_voc(tmp_path, SIZES)
    main = tmp_path / "ImageSets" / "Main"
    train = (main / "train.txt").read_text().splitlines()[1:]  # one is in no list, and its picture is gone
    (tmp_path / "JPEGImages" / "p00.png").unlink()
    (main / "trainval.txt").write_text("\n".join([*train, *(main / "val.txt").read_text().splitlines(), train[0]]))
    (main / "train.txt").unlink()
    data = read(tmp_path)
    assert [len(split) for split in data.splits] == [11, 4, 6]
    assert any("1 XML files in no list" in note for note in data.notes())


def test_the_rotation_that_was_assumed_is_reported(tmp_path: Path) -> None:
    folder = one_picture(tmp_path, [1, 1, 9, 9])
    stored = picture_of(3, [])
    exif = stored.getexif()
    exif[0x0112] = 3
    stored.save(folder / "odd.png", exif=exif)
    assert "one picture has an EXIF rotation: its boxes are taken as those of the upright" in odd_rows(folder)[1]


def test_classes_are_chosen(tmp_path: Path, read: Read) -> None:
    put_coco(tmp_path, SIZES)
    data = read(tmp_path, classes=["red"])
    assert data.names == ["red"]
    assert data.targets.counts == [sum(box[4] == 0 for number in range(12) for box in boxes_of(number))]
    assert any("boxes of other classes" in note for note in data.notes())
    with pytest.raises(FrostlineError, match="no annotation has the class 'rot'"):
        read(tmp_path, classes=["rot"])


def test_pictures_without_splits_are_divided(tmp_path: Path, read: Read) -> None:
    put_coco(tmp_path, {"train": 30})
    data = read(tmp_path)
    assert [len(split) for split in data.splits] == [21, 3, 6]


def test_outlines_of_yolo_become_boxes(tmp_path: Path, read: Read) -> None:
    put_yolo(tmp_path, SIZES)
    (tmp_path / "labels" / "train" / "p00.txt").write_text("0 0.25 0.25 0.5 0.25 0.5 0.75\n")
    source = read(tmp_path).train_split.source
    assert isinstance(source, PicturesWithBoxes)
    assert source.boxes[0][:, :5].tolist() == [[16, 12, 32, 36, 0]]
    assert "one outline is read as the box around it" in " ".join(read(tmp_path).notes())


@pytest.mark.long
def test_blood_cells_have_the_boxes_that_their_readme_counts(shared: Path, tmp_path: Path, read: Read) -> None:
    """In both formats; VOC's has two boxes without area."""
    folder = shared / "bccd"
    zipfile.ZipFile(folder / "bccd.zip").extractall(tmp_path / "coco")
    data = read(tmp_path / "coco")
    assert dict(zip(data.names, data.targets.counts, strict=True)) == {"Platelets": 209, "RBC": 2381, "WBC": 214}
    assert [int(split.labels.sum()) for split in data.splits] == [2804, 1137, 945]
    zipfile.ZipFile(folder / "voc_annotations.zip").extractall(tmp_path / "voc")
    (tmp_path / "voc" / "JPEGImages").mkdir()
    for file in (tmp_path / "coco").rglob("*.jpg"):
        file.rename(tmp_path / "voc" / "JPEGImages" / file.name)
    data = read(tmp_path / "voc")
    assert sum(int(split.labels.sum()) for split in data.splits) == 4886
    assert any("2 boxes without area" in note for note in data.notes())


def test_pictures_that_are_stretched_far_are_counted(tmp_path: Path, read: Read) -> None:
    """At 64 x 64, a picture of 64 x 48 changes by a third, and one of 64 x 20 by more than 2."""
    folder = put_coco(tmp_path, {"train": 8, "val": 2, "test": 2})
    assert not any("stretched" in note for note in read(folder, sides=[64, 64]).notes())
    long = read(folder, sides=[32, 96]).notes()
    assert "12 pictures are stretched by more than 2 in one direction at 32 × 96 (data.sides)" in long
