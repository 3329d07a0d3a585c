"""Folders of pictures as people have them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from PIL import Image

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.data.files.found import sample_files
from frostline.data.module import Data
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.image_folder import ImageFolder
from frostline.data.pictures.sources import FilePictures
from frostline.data.split import Split
from frostline.errors import DataError
from frostline.training.baselines import _majority

Make = Callable[..., Data]


@pytest.fixture
def make(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> Make:
    def made(folder: Path = tmp_path, classes: list[str] | None = None, **settings: Any) -> Data:
        settings = {"grey_range": None} | settings
        return data_of(ImageFolder, spec, dir=str(folder), classes=classes, **common | settings)

    return made


def put(folder: Path, number: int, suffix: str = "png") -> list[Path]:
    """Pictures, each with a colour of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index:03}.{suffix}" for index in range(number)]
    for index, file in enumerate(files):
        colour = (index, len(str(folder)) % 256, sum(map(ord, str(folder))) % 256)
        Image.new("RGB", (20, 16), colour).save(file)
    return files


def files_of(split: Split) -> list[Path]:
    assert isinstance(split.source, FilePictures)
    return [split.source.files[index] for index in split.index]


def parts_of(data: Data) -> list[set[Path]]:
    splits = [files_of(split) for split in (data.train_split, data.val_split, data.test_split)]
    assert all(len(set(split)) == len(split) for split in splits)
    return [set(split) for split in splits]


# --- which picture goes where ---


def test_class_folders_alone_are_split_into_three(tmp_path: Path, make: Make) -> None:
    everything = put(tmp_path / "dog", 20) + put(tmp_path / "cat", 30)
    data = make()
    train, val, test = parts_of(data)
    assert train | val | test == set(everything)
    assert len(train) + len(val) + len(test) == 50
    assert data.classes == ["cat", "dog"]
    assert {(file.parent.name) for file in val} == {(file.parent.name) for file in test} == {"cat", "dog"}
    assert (len(test), len(val)) == (10, 4)  # a fifth of each, then a tenth of 24 and of 16
    assert data.name == tmp_path.name


def test_labels_are_those_of_the_folders(tmp_path: Path, make: Make) -> None:
    for name in ("dog", "ant", "cat"):
        put(tmp_path / name, 10)
    data = make()
    for split in (data.train_split, data.val_split, data.test_split):
        assert [data.classes[label] for label in split.labels] == [file.parent.name for file in files_of(split)]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("training", "validation", "test"), ("Train", "Valid", "TEST")],
)
def test_official_parts_are_kept_apart(tmp_path: Path, make: Make, train: str, val: str, test: str) -> None:
    expected = [set(put(tmp_path / split / "dog", n) + put(tmp_path / split / "cat", n))
                for split, n in ((train, 6), (val, 3), (test, 4))]  # fmt: skip
    data = make()
    assert parts_of(data) == expected
    assert data.classes == ["cat", "dog"]


def test_the_official_test_folder_is_never_trained_or_chosen_on(tmp_path: Path, make: Make) -> None:
    """Also where the training pictures lie beside it and not in a folder of their own."""
    for top in ("", "train"):
        root = tmp_path / f"layout-{top}"
        own = put(root / top / "dog", 10) + put(root / top / "cat", 10)
        official = put(root / "test" / "dog", 3) + put(root / "test" / "cat", 3)
        train, val, test = parts_of(make(root))
        assert test == set(official)
        assert train | val == set(own)
        assert not train & val
        assert not {file for file in train | val if "test" in file.relative_to(root).parts}


def test_an_official_validation_part_leaves_the_test_part_to_be_split_off(tmp_path: Path, make: Make) -> None:
    own = put(tmp_path / "train" / "dog", 10) + put(tmp_path / "train" / "cat", 10)
    official = put(tmp_path / "val" / "dog", 3) + put(tmp_path / "val" / "cat", 3)
    train, val, test = parts_of(make())
    assert val == set(official)
    assert train | test == set(own)
    assert (len(train), len(test)) == (16, 4)


def test_nested_pictures_belong_to_the_class_above(tmp_path: Path, make: Make) -> None:
    everything = put(tmp_path / "cat" / "2023" / "may", 5) + put(tmp_path / "cat", 5) + put(tmp_path / "dog", 10)
    data = make()
    assert set.union(*parts_of(data)) == set(everything)
    assert data.classes == ["cat", "dog"]
    assert data.describe()["num_train"] + data.describe()["num_val"] + data.describe()["num_test"] == 20


def test_hidden_files_and_folders_are_ignored(tmp_path: Path, make: Make) -> None:
    everything = put(tmp_path / "cat", 10) + put(tmp_path / "dog", 10)
    put(tmp_path / ".git" / "cat", 5)
    put(tmp_path / "cat" / ".ipynb_checkpoints", 5)  # copies of what is there: one would be in training, one in test
    (tmp_path / "cat" / "._000.png").write_bytes(b"what macOS leaves on foreign disks")
    (tmp_path / "cat" / ".DS_Store").touch()
    data = make()
    assert set.union(*parts_of(data)) == set(everything)
    assert data.classes == ["cat", "dog"]


def test_files_of_other_kinds_are_ignored_and_suffixes_read_in_any_case(tmp_path: Path) -> None:
    put(tmp_path, 3)
    (tmp_path / "000.png").rename(tmp_path / "ZERO.PNG")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "Thumbs.db").touch()
    files, passed = sample_files(tmp_path, PICTURES)
    assert [file.name for file in files] == ["001.png", "002.png", "ZERO.PNG"]
    assert passed == {".txt": 1, ".db": 1}


def test_the_fingerprint_tells_sets_apart_and_does_not_depend_on_where_they_lie(tmp_path: Path, make: Make) -> None:
    for name in ("cat", "dog"):
        put(tmp_path / "one" / name, 10)
    for root in ("two", "three"):
        shutil.copytree(tmp_path / "one", tmp_path / root)
    Image.new("RGB", (200, 160)).save(tmp_path / "three" / "dog" / "000.png")
    one, two, three = (make(tmp_path / root).describe()["fingerprint"] for root in ("one", "two", "three"))
    assert one == two != three


def test_parts_have_fingerprints_that_differ(tmp_path: Path, make: Make) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / split / "cat", 4)
        put(tmp_path / split / "dog", 4)
    fingerprints = make().describe()["fingerprint"].split("-")
    assert len(set(fingerprints)) == 3


# --- chosen classes ---


def test_chosen_classes_are_the_only_ones(tmp_path: Path, make: Make) -> None:
    for name in ("ant", "cat", "dog"):
        put(tmp_path / name, 10)
    data = make(classes=["dog", "cat", "dog"])
    assert data.classes == ["cat", "dog"]
    assert {file.parent.name for split in parts_of(data) for file in split} == {"cat", "dog"}


def test_an_unknown_class_brings_up_the_close_names(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    with pytest.raises(DataError, match="no class folder 'dogs': did you mean dog") as refused:
        make(classes=["cat", "dogs"])
    assert "data.classes=" in refused.value.next_step


def test_a_class_of_the_test_part_that_is_not_trained_is_refused(tmp_path: Path, make: Make) -> None:
    for folder in ("train/cat", "train/dog", "test/cat", "test/dogs"):
        put(tmp_path / folder, 4)
    with pytest.raises(DataError, match=r"'dogs' .*did you mean dog") as refused:
        make()
    assert refused.value.where == tmp_path / "test"


def test_a_class_that_was_not_chosen_may_stand_in_the_test_part(tmp_path: Path, make: Make) -> None:
    for folder in ("train/cat", "train/dog", "train/ant", "test/cat", "test/dog", "test/ant"):
        put(tmp_path / folder, 4)
    data = make(classes=["cat", "dog"])
    assert {file.parent.name for file in files_of(data.test_split)} == {"cat", "dog"}


# --- what cannot be trained on ---


def test_a_missing_folder_says_what_belongs_there(tmp_path: Path, make: Make) -> None:
    with pytest.raises(DataError, match="no such data folder") as refused:
        make(tmp_path / "absent")
    assert refused.value.where == tmp_path / "absent"
    assert "data.dir=" in refused.value.next_step


def test_an_empty_folder_has_no_classes(make: Make) -> None:
    with pytest.raises(DataError, match="needs two classes, but there is none"):
        make()


def test_pictures_without_class_folders_have_no_classes(tmp_path: Path, make: Make) -> None:
    put(tmp_path, 5)
    with pytest.raises(DataError, match="there is none: 5 pictures are in no class folder") as refused:
        make()
    assert refused.value.next_step == "put the pictures into a folder for each class"
    (tmp_path / "list.csv").write_text("path,x\n")
    with pytest.raises(DataError, match="5 pictures are in no class folder") as refused:
        make()
    assert refused.value.next_step.endswith(
        f"; or data.file={tmp_path / 'list.csv'} data=image_csv data.target_columns=[<column of the class>]"
    )


def test_pictures_beside_no_class_folder_are_counted_where_the_classes_are_known(tmp_path: Path, make: Make) -> None:
    known = Targets("class", ["cat", "dog"], [1, 1], {})
    put(tmp_path, 3)
    (tmp_path / "list.csv").write_text("path,x\n")
    with pytest.raises(DataError, match="3 pictures are in no class folder") as refused:
        make(known=known)
    assert refused.value.next_step.endswith(f"into {tmp_path}/<class>/")


def test_one_class_is_named(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    with pytest.raises(DataError, match="there is only one: 'cat'"):
        make()


def test_text_files_are_told_to_be_text(tmp_path: Path, make: Make) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"there is text: reviews.csv; this data is for pictures"):
        make()


def test_class_folders_of_text_hold_no_pictures(tmp_path: Path, make: Make) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "review.txt").write_text("fine")
    with pytest.raises(DataError, match="there are no pictures") as refused:
        make()
    assert ".jpg" in refused.value.next_step


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_class_with_too_few_pictures_is_named(tmp_path: Path, make: Make, number: int) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", number)
    with pytest.raises(DataError, match=f"'dog' has {number}; one each for training, validation, test needs 3"):
        make()


def test_classes_with_enough_pictures_are_offered_as_those_to_use(tmp_path: Path, make: Make) -> None:
    for name, number in {"cat": 10, "dog": 2, "emu": 10}.items():
        put(tmp_path / name, number)
    with pytest.raises(DataError, match="'dog' has 2") as refused:
        make()
    assert "leave those classes out: 'data.classes=[cat,emu]'" in refused.value.next_step
    assert make(classes=["cat", "emu"]).classes == ["cat", "emu"]


def test_three_of_a_class_are_enough_for_three_parts(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 3)
    put(tmp_path / "dog", 3)
    assert [len(split) for split in parts_of(make())] == [2, 2, 2]


def test_an_official_part_without_pictures_is_named(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "train" / "cat", 10)
    put(tmp_path / "train" / "dog", 10)
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="no pictures") as refused:
        make()
    assert refused.value.where == tmp_path / "test"


def test_a_class_that_only_the_test_part_has_pictures_of_is_named(tmp_path: Path, make: Make) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / split / "cat", 4)
        put(tmp_path / split / "dog", 0 if split == "train" else 4)
    with pytest.raises(DataError, match="'dog' has 0; training"):
        make()


def test_a_broken_picture_is_named_before_training_begins(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 5)
    broken = put(tmp_path / "dog", 5)[2]
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(DataError, match="does not decode") as refused:
        make()
    assert refused.value.where == broken


def test_training_sees_whole_pictures_and_evaluation_their_centres(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    data = make(augment="standard")
    data.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    assert next(iter(data.train_dataloader())).inputs.shape[1:] == (3, 16, 20)
    assert next(iter(data.test_dataloader())).inputs.shape[1:] == (3, 16, 16)
    data.show(0, 0)
    assert next(iter(data.train_dataloader())).inputs.shape[1:] == (3, 16, 16)
    assert next(iter(data.train_dataloader())).inputs.dtype == torch.uint8


# --- what is skipped, and what is repeated, is reported ---


def test_what_is_passed_over_is_counted_by_suffix_and_reason(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    for name in ("a.heic", "b.heic", "notes.txt"):
        (tmp_path / "cat" / name).write_text("none")
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "dog" / "._000.png").write_bytes(b"what macOS leaves")
    put(tmp_path, 1)
    (note,) = make().notes()
    told = ["1 broken links", "1 hidden pictures", "1 of .txt", "1 pictures beside the class folders"]
    assert sorted(note.removeprefix("skipped: ").split(", ")) == [*told, "2 of .heic"]


def test_nothing_is_told_of_a_folder_with_nothing_odd(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    assert make().notes() == []


def test_linked_folders_are_followed_and_loops_are_noticed(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "data" / "cat", 10)
    put(tmp_path / "data" / "dog", 10)
    elsewhere = put(tmp_path / "elsewhere", 7)
    (tmp_path / "data" / "cat" / "disk2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "dog" / "back").symlink_to(tmp_path / "data" / "dog")
    data = make(tmp_path / "data")
    assert len(set.union(*parts_of(data))) == 20 + len(elsewhere)
    assert data.notes() == ["skipped: 1 linked folders that lead back"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    put(tmp_path / "cat" / "more", 5)
    (tmp_path / "cat" / "more").chmod(0)
    try:
        with pytest.raises(DataError, match="a folder cannot be read"):
            make()
    finally:
        (tmp_path / "cat" / "more").chmod(0o755)


def test_a_folder_that_cannot_be_listed_is_no_empty_one(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, for a user who may read everything."""
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    put(tmp_path / "cat" / "more", 5)
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "more":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="a folder cannot be read: Permission denied") as refused:
        make()
    assert refused.value.where == tmp_path / "cat" / "more"


def test_every_suffix_that_pillow_opens_is_a_picture(tmp_path: Path, make: Make) -> None:
    put(tmp_path / "cat", 10)
    put(tmp_path / "dog", 10)
    Image.new("RGB", (20, 16), "red").save(tmp_path / "cat" / "web.jfif", format="JPEG")
    Image.new("RGB", (20, 16), "blue").save(tmp_path / "dog" / "old.tga")
    data = make()
    assert len(set.union(*parts_of(data))) == 22
    assert data.notes() == []


@pytest.mark.parametrize("held", [True, False])
def test_a_picture_in_two_parts_is_told_however_it_was_saved(
    held: bool, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setattr("frostline.data.pictures.sources.MEMORY_BYTES", 0)
    for split in ("train", "val", "test"):
        put(tmp_path / split / "cat", 4)
        put(tmp_path / split / "dog", 4)
    first = tmp_path / "train" / "cat" / "000.png"
    if held:
        Image.open(first).save(tmp_path / "test" / "cat" / "again.png", compress_level=1)
    else:
        shutil.copy(first, tmp_path / "test" / "cat" / "again.png")
    shutil.copy(first, tmp_path / "train" / "cat" / "twice.png")
    assert make().notes() == [
        "1 training picture is the same as an earlier one",
        "1 picture is in both train and test",
    ]


def test_a_picture_under_two_classes_is_named(tmp_path: Path, make: Make) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / split / "cat", 4)
        put(tmp_path / split / "dog", 4)
    shutil.copy(tmp_path / "train" / "cat" / "000.png", tmp_path / "train" / "dog" / "it.png")
    (within, contradicting) = make().notes()
    assert within == "1 training picture is the same as an earlier one"
    assert contradicting.startswith("1 picture has different targets, such as ")
    assert str(tmp_path / "train" / "cat" / "000.png") in contradicting
    assert str(tmp_path / "train" / "dog" / "it.png") in contradicting


def test_pictures_that_differ_in_one_pixel_are_two(tmp_path: Path, make: Make) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / split / "cat", 4)
        put(tmp_path / split / "dog", 4)
    picture = Image.open(tmp_path / "train" / "cat" / "000.png")
    picture.putpixel((9, 7), (255, 255, 255))
    picture.save(tmp_path / "test" / "cat" / "other.png")
    assert make().notes() == []


def test_every_broken_file_is_named_at_once(tmp_path: Path, make: Make) -> None:
    files = put(tmp_path / "cat", 10) + put(tmp_path / "dog", 10)
    broken = [files[1], files[4], files[13]]
    for file in broken:
        file.write_bytes(file.read_bytes()[:40])
    broken[0].write_bytes(b"")
    with pytest.raises(DataError, match="3 pictures cannot be read:") as refused:
        make()
    assert all(str(file) in refused.value.what for file in broken)


def test_numbers_are_names_of_classes(tmp_path: Path, make: Make) -> None:
    for name in ("0", "1", "10"):
        put(tmp_path / name, 10)
    assert make(classes=[0, 10]).classes == ["0", "10"]


def test_names_of_classes_are_compared_after_unicode_normalisation(tmp_path: Path, make: Make) -> None:
    composed, apart = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
    for split, name in (("train", composed), ("test", apart), ("train", "klein"), ("test", "klein")):
        put(tmp_path / split / name, 4)
    data = make()
    assert data.names == [composed, "klein"]
    assert [len(split) for split in data.splits] == [6, 2, 8]
    assert make(classes=[apart, "klein"]).names == data.names


def test_two_folders_of_one_name_are_refused(tmp_path: Path, make: Make) -> None:
    for name in ("gr\u00f6\u00dfe", "gro\u0308\u00dfe", "klein"):
        put(tmp_path / name, 4)
    with pytest.raises(DataError, match="two class folders have the same name"):
        make()


def test_folders_beside_the_parts_are_told(tmp_path: Path, make: Make) -> None:
    for split in ("train", "test", "unlabelled"):
        for name in ("cat", "dog"):
            put(tmp_path / split / name, 4)
    assert "skipped: 1 folders beside train, val and test" in make().notes()


# --- what a run says of its data ---


def test_sizes_of_training_pictures_are_described(make: Make, tmp_path: Path) -> None:
    for label, side in (("a", 20), ("b", 40)):
        for file in put(tmp_path / "train" / label, 30):
            Image.new("RGB", (side, 16), (1, 2, 3)).save(file)
        put(tmp_path / "test" / label, 2)
    data = make()
    described = data.describe()
    assert described["sizes"] == {
        "smallest": "20 × 16 pixels",
        "median": described["sizes"]["median"],
        "largest": "40 × 16 pixels",
    }
    assert described["inputs"] == "16 × 16 pixels"
    with Image.open(files_of(data.train_split)[0]) as picture:  # EXIF turns it
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.resize((8, 90)).save(files_of(data.train_split)[0], exif=exif)
    assert data.describe()["sizes"]["largest"] == "90 × 8 pixels"
    files_of(data.train_split)[1].write_bytes(b"no picture")
    assert data.describe()["sizes"]["pictures_looked_at"] == len(data.train_split) - 1


def test_the_most_frequent_class_is_that_of_the_data_before_it_is_limited(make: Make, tmp_path: Path) -> None:
    """The limit balances classes, so that the most frequent of what is left is any."""
    put(tmp_path / "a", 20)
    put(tmp_path / "b", 60)
    data = make(train_limit=10)
    assert data.train_split.labels.bincount().tolist() == [5, 5]
    assert data.unlimited.bincount().argmax() == 1
    assert _majority(data) == float((data.val_split.labels == 1).double().mean()) > 0.5
