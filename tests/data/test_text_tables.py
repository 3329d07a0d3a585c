"""Texts by tables: which file and column becomes what, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.data.reader import Found
from frostline.data.target_types.find import target_type
from frostline.data.texts.tables import read_text_tables
from frostline.errors import ConfigError, DataError

Read = Callable[..., Found]
PLAIN: dict[str, Any] = {
    "train_file": "train.csv", "val_file": None, "test_file": None, "text_columns": ["text"],
    "target_columns": ["label"], "separator": None, "class_names": None, "quotes": None, "source": None,
}  # fmt: skip


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a table with these lines, and those of the other splits."""

    def made(train: list[str], *, kind: str = "class", test: list[str] | None = None, **settings: Any) -> Found:
        (tmp_path / "train.csv").write_text("\n".join(train) + "\n")
        if test is not None:
            (tmp_path / "test.csv").write_text("\n".join(test) + "\n")
            settings["test_file"] = "test.csv"
        return read_text_tables(target_type(kind), dir=str(tmp_path), **PLAIN | settings)

    return made


def test_names_are_classes_and_texts_stay_as_they_are(read: Read, tmp_path: Path) -> None:
    data = read(["text,label", " a  b ,dog", '"c\nd",cat', "e, dog "], test=["label,text", "cat,f"])
    assert data.names == ["cat", "dog"]
    assert data.train.strings == [(" a  b ",), ("c\nd",), ("e",)]
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.train.labels.dtype == torch.int64
    assert len(data.train) == 3
    assert data.val is None
    assert data.test is not None
    assert (data.test.strings, data.test.labels.tolist()) == ([("f",)], [0])
    assert data.train.where(2) == f"{tmp_path / 'train.csv'}, line 5"
    assert data.test.where(0) == f"{tmp_path / 'test.csv'}, line 2"


def test_numbers_are_named(read: Read) -> None:
    data = read(["text,label", "a,1", "b,0", "c,1"], class_names=["negative", "positive"])
    assert data.names == ["negative", "positive"]
    assert data.train.labels.tolist() == [1, 0, 1]


def test_a_sample_may_be_two_texts(read: Read) -> None:
    data = read(["b,label,a", "x,0,y", "z,1,w"], text_columns=["a", "b"])
    assert data.train.strings == [("y", "x"), ("w", "z")]


def test_labels_and_numbers_are_read_as_those_of_pictures(read: Read) -> None:
    labels = read(["text,label", "a,x|y", "b,", "c,y"], kind="labels", separator="|")
    assert (labels.names, labels.train.labels.tolist()) == (["x", "y"], [[1, 1], [0, 0], [0, 1]])
    numbers = read(
        ["text,u,v", "a,1.5,2", "b,-1,0"], kind="numbers", target_columns=["u", "v"], test=["text,u,v", "c,0,7"]
    )
    assert numbers.train.labels.tolist() == [[1.5, 2], [-1, 0]]
    assert numbers.train.labels.dtype == torch.float32
    assert numbers.test is not None
    assert numbers.test.labels.tolist() == [[0, 7]]


def test_parts_may_be_files_of_different_formats(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\na, b\t1\nc\t0\n")
    (tmp_path / "dev.jsonl").write_text('{"text": "d", "label": 1}\n')
    settings = PLAIN | {"dir": str(tmp_path), "train_file": "train.tsv", "val_file": "dev.jsonl"}
    data = read_text_tables(target_type("class"), **settings)
    assert data.val is not None
    assert (data.train.strings, data.val.strings, data.val.labels.tolist()) == ([("a, b",), ("c",)], [("d",)], [1])


TWO = ["text,label", "a,0", "b,1"]
BAD: dict[str, tuple[dict[str, Any], list[str], str, str, str]] = {
    "no text": ({}, [*TWO, "  ,1"], "no text in 'text'", "train.csv, line 4", "drop that sample"),
    "one of two texts": (
        {"text_columns": ["text", "x"]},
        ["text,label,x", "a,0,b", "a,1,"],
        "no text in 'x'",
        "train.csv, line 3",
        "data.text_columns=[text]",
    ),
    "no class": ({}, [*TWO, "c,"], "no class in 'label'", "train.csv, line 4", "drop the line"),
    "one class": ({}, ["text,label", "a,x", "b,x"], "all training rows have 'x'", "train.csv", "add samples"),
    "one class of two names": (
        {"class_names": ["no", "yes"]}, ["text,label", "a,1", "b,1"], "all training rows have 'yes'", "train.csv", "add"
    ),
    "a class of the test split alone": (
        {"test": ["text,label", "a,dog", "b,cats"]},
        ["text,label", "a,cat", "b,dog"],
        "'cats' does not occur in the training split: did you mean cat",
        "test.csv, line 3",
        "these samples",
    ),
    "floats": ({}, ["text,label", "a,1.0", "b,0"], "'1.0' in 'label' is a number", "train.csv, line 2", "astype(int)"),
    "floats where numbers are named": (
        {"class_names": ["no", "yes"]},
        ["text,label", "a,1", "b,0.0"],
        "'0.0' in 'label' is not a whole number from 0 to 1",
        "train.csv, line 3",
        "1, not 1.0",
    ),
    "a number without a name": (
        {"class_names": ["no", "yes"]}, [*TWO, "c,2"], "'2' in 'label'", "train.csv, line 4", "data.class_names"
    ),
    "withheld": ({"class_names": ["no", "yes"]}, [*TWO, "c,-1"], "'-1' in 'label'", "train.csv, line 4", "withheld"),
    "no number": ({"kind": "numbers"}, [*TWO, "c,nan"], "'nan' in 'label' is not", "train.csv, line 4", "drop"),
    "digits apart": ({"kind": "numbers"}, [*TWO, "c,1_0"], "'1_0' in 'label' is not a number", "train.csv, line 4", ""),
    "no column": ({}, ["txt,label", "a,1"], "no column 'text': did you mean txt?", "train.csv, line 1", "[txt]"),
    "nothing": ({}, [], "the table is empty", "train.csv", "text,label"),
    "names alone": ({}, ["text,label"], "no lines", "train.csv", "a line for each sample"),
    "names alone in test": ({"test": ["text,label"]}, TWO, "no lines", "test.csv", "a line for each sample"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_makes_no_data_says_where_and_why(read: Read, case: str) -> None:
    settings, lines, what, where, next_step = BAD[case]
    with pytest.raises(DataError) as refused:
        read(lines, **settings)
    assert what in refused.value.what
    assert str(refused.value.where).endswith(where)
    assert next_step in refused.value.next_step


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"text_columns": []}, "one or two texts, but 0"),
        ({"text_columns": ["a", "b", "c"]}, "one or two texts, but 3"),
        ({"text_columns": ["label"]}, "'label' is in data.text_columns and in data.target_columns"),
        ({"target_columns": ["a", "b"]}, "a class needs one column of targets"),
        ({"separator": "|"}, "for several labels in one column"),
        ({"class_names": ["a"]}, "two or more names that all differ"),
        ({"class_names": ["a", "a"]}, "two or more names that all differ"),
        ({"class_names": ["a", "b"], "kind": "numbers"}, "two or more names that all differ"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(read: Read, settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        read(TWO, **settings)


READY: dict[str, tuple[dict[str, Any], list[int], list[int]]] = {
    "sst2": (
        {"val_file": "dev.csv", "class_names": ["negative", "positive"]}, [6920, 872, 1821], [3310, 3610]
    ),
    "trec6": ({}, [5452, 0, 500], [86, 1162, 1250, 1223, 835, 896]),
    "ag_news": ({}, [6000, 0, 1600], [1500] * 4),
}  # fmt: skip


@pytest.mark.parametrize("name", READY)
def test_ready_sets_hold_what_their_readme_says(shared: Path, name: str) -> None:
    settings, sizes, counts = READY[name]
    data = read_text_tables(
        target_type("class"), **PLAIN | {"dir": str(shared / name), "test_file": "test.csv"} | settings
    )
    assert [len(split) if split is not None else 0 for split in (data.train, data.val, data.test)] == sizes
    assert torch.bincount(data.train.labels).tolist() == counts
    if name == "trec6":
        assert data.names == ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]


def test_digits_with_underlines_are_names(read: Read) -> None:
    assert read(["text,label", "a,1_0", "b,1_1"]).names == ["1_0", "1_1"]


def test_digits_without_end_are_no_whole_number(read: Read) -> None:
    with pytest.raises(DataError, match="is a number, not the name of a class"):
        read(["text,label", f"a,{'1' * 5000}", "b,2"])
