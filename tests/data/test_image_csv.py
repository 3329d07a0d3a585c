"""Pictures by a table: what the cells mean, which split a line is of, and what is refused."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.data.module import Data
from frostline.data.pictures.image_csv import ImageCsv
from frostline.data.pictures.sources import FilePictures
from frostline.data.split import Split
from frostline.errors import ConfigError, DataError

Make = Callable[..., Data]
DEFAULTS = {
    "dir": None,
    "path_column": "path",
    "separator": None,
    "split_column": None,
    "suffix": "",
    "quotes": None,
    "grey_range": None,
}


@pytest.fixture
def make(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> Make:
    """Make the data of a table with these lines, and write its pictures."""

    def made(
        lines: list[str], columns: list[str], kind: str = "class", name: str = "labels.csv", **settings: Any
    ) -> Data:
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        said: dict[str, Any] = DEFAULTS | {"file": str(tmp_path / name), "target_columns": columns} | common | settings
        return data_of(ImageCsv, spec, target_kind=kind, **said)

    return made


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """The names of 60 pictures beside the table, each of a colour of its own."""
    names = [f"{number:02}.png" for number in range(60)]
    for number, name in enumerate(names):
        Image.new("RGB", (16, 16), (4 * number, 0, 0)).save(tmp_path / name)
    return names


def places(split: Split) -> list[int]:
    """Numbers of a split's pictures, by their names."""
    assert isinstance(split.source, FilePictures)
    return [int(split.source.files[index].stem) for index in split.index]


def parts_of(data: Data) -> list[list[int]]:
    return [places(split) for split in (data.train_split, data.val_split, data.test_split)]


def with_parts(names: list[str], cells: Callable[[int], str], header: str) -> list[str]:
    """Every fifth line is of the test split, every one after it of validation."""
    said = {0: "test", 1: "Validation"}
    return [
        f"path,{header},part",
        *(f"{name},{cells(number)},{said.get(number % 5, 'train')}" for number, name in enumerate(names)),
    ]


# --- targets ---


def test_names_are_classes_in_their_order(make: Make, pictures: list[str]) -> None:
    lines = ["path,species", *(f"{name},{['dog', 'ant', 'cat'][i % 3]}" for i, name in enumerate(pictures))]
    data = make(lines, ["species"])
    assert data.classes == ["ant", "cat", "dog"]
    assert data.name == data.reader.dir.name, "the file, labels.csv, says nothing"
    for split in (data.train_split, data.val_split, data.test_split):
        assert split.labels.dtype == torch.int64
        assert [data.classes[label] for label in split.labels] == [["dog", "ant", "cat"][i % 3] for i in places(split)]
    assert sorted(chain(*parts_of(data))) == list(range(60))


def test_whole_numbers_are_classes_in_theirs(make: Make, pictures: list[str]) -> None:
    lines = ["path,grade", *(f"{name},{[10, 9, -1][i % 3]}" for i, name in enumerate(pictures))]
    assert make(lines, ["grade"]).classes == ["-1", "9", "10"]


def test_columns_of_0_and_1_are_labels(make: Make, pictures: list[str]) -> None:
    lines = [
        "path,red,old",
        *(f"{name},{i % 2},{['0.0', 'True', '1', 'false'][i % 4]}" for i, name in enumerate(pictures)),
    ]
    data = make(lines, ["red", "old"], "labels")
    assert data.classes == ["red", "old"]
    for split in (data.train_split, data.val_split, data.test_split):
        assert split.labels.tolist() == [[i % 2, float(i % 4 in (1, 2))] for i in places(split)]
        assert split.labels.dtype == torch.float32
    train = places(data.train_split)
    assert data.targets.counts == [sum(i % 2 for i in train), sum(i % 4 in (1, 2) for i in train)]


def test_one_column_of_labels_is_taken_apart(make: Make, pictures: list[str]) -> None:
    cells = ["red|old", "", "old", " new | red |"]
    data = make(
        ["path,tags", *(f"{n},{cells[i % 4]}" for i, n in enumerate(pictures))], ["tags"], "labels", separator="|"
    )
    assert data.classes == ["new", "old", "red"]
    expected = [[0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert data.test_split.labels.tolist() == [expected[i % 4] for i in places(data.test_split)]


def test_numbers_stay_in_their_unit_and_training_tells_their_mean(make: Make, pictures: list[str]) -> None:
    lines = ["path,price,share", *(f"{name},{1e5 + 100 * i},{i / 60:.3g}" for i, name in enumerate(pictures))]
    data = make(lines, ["price", "share"], "numbers")
    assert data.classes == []
    assert data.test_split.labels[:, 0].tolist() == [1e5 + 100 * i for i in places(data.test_split)]
    train = torch.tensor([[1e5 + 100 * i, float(f"{i / 60:.3g}")] for i in places(data.train_split)])
    assert data.targets.names == ["price", "share"]
    assert data.targets.about["mean"] == pytest.approx(train.double().mean(0).tolist())
    assert data.targets.about["std"] == pytest.approx(train.double().std(0, correction=0).tolist())
    assert data.describe()["targets"] == {
        "kind": "numbers", "names": ["price", "share"], "counts": [], "about": data.targets.about
    }  # fmt: skip


# --- splits ---


@pytest.mark.parametrize("kind", ["class", "labels", "numbers"])
def test_the_column_of_parts_is_followed(make: Make, pictures: list[str], kind: str) -> None:
    cells = {"class": lambda i: "ab"[i % 2], "labels": lambda i: f"{i % 2},{i % 3 // 2}", "numbers": lambda i: f"{i}.5"}
    columns = {"class": ["x"], "labels": ["x", "y"], "numbers": ["x"]}[kind]
    data = make(with_parts(pictures, cells[kind], ",".join(columns)), columns, kind, split_column="part")
    train, val, test = parts_of(data)
    assert (val, test) == (list(range(1, 60, 5)), list(range(0, 60, 5)))
    assert train == [i for i in range(60) if i % 5 > 1]


def test_a_part_without_lines_is_split_off_training(make: Make, pictures: list[str]) -> None:
    lines = ["path,x,part", *(f"{n},{'ab'[i % 2]},{'test' if i < 10 else 'train'}" for i, n in enumerate(pictures))]
    train, val, test = parts_of(make(lines, ["x"], split_column="part"))
    assert test == list(range(10))
    assert sorted(train + val) == list(range(10, 60))
    assert len(val) == 4  # a tenth of 25 each, rounded


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_seeds_share_their_test_part(make: Make, pictures: list[str], kind: str) -> None:
    lines = ["path,x,y", *(f"{n},{i % 2},{i % 3 // 2}" for i, n in enumerate(pictures))]
    first, again, other = (make(lines, ["x", "y"], kind, **s) for s in ({}, {"seed": 1}, {"split_seed": 1}))
    assert parts_of(first) == parts_of(again)
    assert parts_of(first)[2] != parts_of(other)[2]
    assert [len(split) for split in parts_of(other)] == pytest.approx([43, 5, 12], abs=2)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_a_limit_takes_as_many_training_pictures(make: Make, pictures: list[str], kind: str) -> None:
    lines = ["path,x,y", *(f"{n},{i % 2},{int(i % 10 == 0)}" for i, n in enumerate(pictures))]
    whole, limited = (make(lines, ["x", "y"], kind, train_limit=limit) for limit in (None, 12))
    assert len(limited.train_split) == 12
    assert set(places(limited.train_split)) < set(places(whole.train_split))
    assert parts_of(limited)[1:] == parts_of(whole)[1:]
    if kind == "labels":
        assert limited.train_split.labels[:, 1].sum() == 4, "one of three layers: the rare label, the other, and none"


# --- paths ---


def test_paths_are_relative_to_the_folder_that_is_named(make: Make, pictures: list[str], tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    said = ["{}", "./{}", "tables/../{}", f"{tmp_path}/{{}}"]
    lines = ["path,x", *(f"{said[i % 4].format(n)},{'ab'[i % 2]}" for i, n in enumerate(pictures))]
    with pytest.raises(DataError, match="no such picture"):
        make([line.replace(f"{tmp_path}/", "") for line in lines], ["x"], name="tables/labels.csv")
    data = make(lines, ["x"], name="tables/labels.csv", dir=str(tmp_path))
    assert sorted(chain(*parts_of(data))) == list(range(60))
    beside = make(["path,x", *(f"{n},{'ab'[i % 2]}" for i, n in enumerate(pictures))], ["x"])
    assert data.fingerprint == beside.fingerprint


def test_a_table_may_be_of_another_format(make: Make, pictures: list[str]) -> None:
    fields = make(["path,x", *(f"{n},{i % 2}" for i, n in enumerate(pictures))], ["x"])
    lines = [f'{{"x": {i % 2}, "path": "{n}"}}' for i, n in enumerate(pictures)]
    assert make(lines, ["x"], name="labels.jsonl").fingerprint == fields.fingerprint


# --- what is refused ---

PLAIN = [f"{number:02}.png" for number in range(12)]
BAD: dict[str, tuple[dict[str, Any], list[str], str, str]] = {
    "a picture is missing": ({}, ["path,x", "00.png,a", "absent.png,b"], "no such picture", "line 3"),
    "a folder is no picture": ({}, ["path,x", ".,a"], "is not that of a picture", "line 2"),
    "a path leads out": ({}, ["path,x", "../00.png,a"], "is not that of a picture", "line 2"),
    "a path from elsewhere": ({}, ["path,x", "/etc/none.png,a"], "is not that of a picture", "line 2"),
    "an empty path": ({}, ["path,x", ",a"], "no picture is named", "line 2"),
    "an empty line": ({}, ["path,x", "00.png,a", ","], "only separators", "line 3"),
    "a picture twice": ({}, ["path,x", "00.png,a", "01.png,b", "00.png,b"], "is also in line 2", "line 4"),
    "twice by detours": ({}, ["path,x", "00.png,a", "./y/../00.png,b"], "is also in line 2", "line 3"),
    "in two parts": (
        {"split_column": "part"},
        ["path,x,part", "00.png,a,train", "01.png,b,train", "00.png,a,test"],
        "is also in line 2",
        "line 4",
    ),
    "an unknown part": (
        {"split_column": "part"},
        ["path,x,part", "00.png,a,train", "01.png,b,tset"],
        "'tset' is not a split: did you mean test",
        "line 3",
    ),
    "no part": ({"split_column": "part"}, ["path,x,part", "00.png,a,"], "'' is not a split", "line 2"),
    "no training": ({"split_column": "part"}, ["path,x,part", "00.png,a,test"], "no line is in the training", "csv"),
    "no class": ({}, ["path,x", "00.png,a", "01.png,"], "no class in 'x'", "line 3"),
    "one class": ({}, ["path,x", *(f"{n},a" for n in PLAIN)], "all training rows have 'a'", "csv"),
    "too few of a class": ({}, ["path,x", "11.png,b", *(f"{n},a" for n in PLAIN[:9])], "'b' has 1", "csv"),
    "floats as classes": ({}, ["path,x", "00.png,1", "01.png,2.5"], "'2.5' in 'x' is a number", "line 3"),
    "a class of the test split alone": (
        {"split_column": "part"},
        ["path,x,part", "00.png,cat,train", "01.png,dog,train", "02.png,cats,test"],
        "'cats' does not occur in the training split: did you mean cat",
        "line 4",
    ),
    "no number": ({"kind": "numbers"}, ["path,x", "00.png,1.5", '01.png,"2,5"'], "'2,5' in 'x' is not", "line 3"),
    "NaN": ({"kind": "numbers"}, ["path,x", "00.png,1.5", "01.png,nan"], "'nan' in 'x' is not a number", "line 3"),
    "beyond float32": ({"kind": "numbers"}, ["path,x", "00.png,1e39"], "'1e39' in 'x' is not a number", "line 2"),
    "an empty cell": ({"kind": "numbers"}, ["path,x", "00.png,"], "'' in 'x' is not a number", "line 2"),
    "the same number": ({"kind": "numbers"}, ["path,x", *(f"{n},0.1" for n in PLAIN)], "the same for every", "csv"),
    "neither 0 nor 1": (
        {"kind": "labels", "columns": ["x", "y"]},
        ["path,x,y", "00.png,1,0", "01.png,0,-1"],
        "'-1' in 'y' is neither 0 nor 1",
        "line 3",
    ),
    "a label that none has": (
        {"kind": "labels", "columns": ["x", "y"]},
        ["path,x,y", *(f"{n},{i % 2},0" for i, n in enumerate(PLAIN))],
        "'y' has 0",
        "csv",
    ),
    "a label that all have": (
        {"kind": "labels", "columns": ["x", "y"]},
        ["path,x,y", *(f"{n},{i % 2},1" for i, n in enumerate(PLAIN))],
        "every training sample has the label 'y'",
        "csv",
    ),
    "one column of yes and no": (
        {"kind": "labels"}, ["path,x", "00.png,1", "01.png,0"], "a multi-label task needs two", "line 2"
    ),
    "one label": (
        {"kind": "labels", "separator": "|"},
        ["path,x", *(f"{n},{'a' * (i % 2)}" for i, n in enumerate(PLAIN))],
        "needs two labels, but 'x' has a in training",
        "csv",
    ),
    "a label of the test split alone": (
        {"kind": "labels", "separator": "|", "split_column": "part"},
        ["path,x,part", "00.png,red|old,train", "01.png,,train", "02.png,red|odd,test"],
        "'odd' does not occur in the training split: did you mean old",
        "line 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_makes_no_data_says_where_and_why(make: Make, pictures: list[str], case: str) -> None:
    settings, lines, what, where = BAD[case]
    settings = {"columns": ["x"]} | settings
    with pytest.raises(DataError) as refused:
        make(lines, **settings)
    assert what in refused.value.what
    assert str(refused.value.where).endswith(where)
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"columns": ["x", "y"]}, "one column of targets, but 2 are named"),
        ({"columns": []}, "no column of targets"),
        ({"columns": ["x", "x"], "kind": "numbers"}, "'x' is named twice"),
        ({"columns": ["path"]}, "'path' is in data.path_column and in data.target_columns"),
        ({"columns": ["x"], "separator": "|"}, "data.separator is for several labels"),
        ({"columns": ["x"], "kind": "numbers", "separator": "|"}, "data.separator is for several labels"),
        ({"columns": ["x", "y"], "kind": "labels", "separator": "|"}, "separates labels within one column"),
        ({"columns": ["x"], "kind": "labels", "separator": ""}, "separates labels within one column"),
    ],
)
def test_columns_that_the_task_does_not_want_are_refused(
    make: Make, pictures: list[str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        make(["path,x,y", "00.png,1,0"], **settings)
    assert "data.target_columns" in refused.value.next_step


def test_a_broken_picture_is_named_before_training_begins(make: Make, pictures: list[str], tmp_path: Path) -> None:
    (tmp_path / "07.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(DataError, match="does not decode") as refused:
        make(["path,x", *(f"{n},{'ab'[i % 2]}" for i, n in enumerate(pictures))], ["x"])
    assert refused.value.where == tmp_path / "07.png"


def test_other_targets_are_other_data(make: Make, pictures: list[str]) -> None:
    lines = ["path,x,y", *(f"{n},{i % 2},{i % 3}" for i, n in enumerate(pictures))]
    one, other = (make(lines, [column], "numbers") for column in "xy")
    assert one.fingerprint != other.fingerprint
    assert one.train_split.source.content == other.train_split.source.content


def test_lines_that_repeat_a_picture_are_told_and_used_once(make: Make, pictures: list[str]) -> None:
    lines = [f"{name},{'ab'[place % 2]}" for place, name in enumerate(pictures)]
    data = make(["path,x", *lines, *lines[:9]], ["x"])
    assert sum(map(len, parts_of(data))) == len(pictures)
    assert data.notes() == ["9 lines repeat a picture of another line; each picture is used once"]


def test_all_missing_pictures_are_in_one_message(make: Make, pictures: list[str]) -> None:
    with pytest.raises(DataError, match="12 pictures are missing") as refused:
        make(["path,x", *(f"absent{n}.png,a" for n in range(12)), "00.png,b"], ["x"])
    assert "line 2: there is no such picture" in refused.value.what
    assert "and 2 more" in refused.value.what
