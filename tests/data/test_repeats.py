"""Texts that stand more than once."""

from pathlib import Path
from typing import Any

import pytest

from frostline.data.target_types.find import target_type
from frostline.data.texts.repeats import repeats
from frostline.data.texts.tables import read_text_tables


def test_repeats_within_training_and_between_parts_are_counted() -> None:
    found = repeats({"train": [("a",), ("b",), ("a",), ("a",)], "val": [("b",), ("b",), ("A",)], "test": [("a ",)]})
    assert found.within == 2
    assert found.between == {("train", "val"): 1, ("train", "test"): 0, ("val", "test"): 0}
    assert found.told() == ["2 training texts repeat an earlier one", "1 text occurs in both train and val"]


def test_a_text_with_different_targets_is_counted_once_in_any_part() -> None:
    texts = {"train": [("a",), ("b",), ("a",), ("a",)], "test": [("b",), ("c",)]}
    found = repeats(texts, {"train": [0, 1, 1, 0], "test": [0, 0]})
    assert found.contradicting == [("a",), ("b",)]
    assert found.told()[-1] == "2 texts have different targets, such as 'a'"
    assert repeats(texts, {"train": [0, 1, 0, 0], "test": [1, 0]}).contradicting == []


def test_case_and_blanks_and_borders_count_and_composition_does_not() -> None:
    composed, taken_apart = "caf\u00e9", "cafe\u0301"
    assert repeats({"train": [(composed,), (taken_apart,)]}).within == 1
    assert repeats({"train": [("a", "b"), ("ab",), ("a", "B"), ("a ", "b")]}).within == 0
    assert repeats({"train": [("a",)], "test": [("b",)]}).told() == []


@pytest.mark.parametrize(("name", "within", "shared_texts"), [("sst2", 9, 2), ("trec6", 71, 10), ("ag_news", 0, 0)])
def test_ready_sets_repeat_as_their_readme_says(shared: Path, name: str, within: int, shared_texts: int) -> None:
    settings: dict[str, Any] = {
        "train_file": "train.csv", "val_file": None, "test_file": "test.csv", "text_columns": ["text"],
        "target_columns": ["label"], "separator": None, "class_names": None, "quotes": None, "source": None,
    }  # fmt: skip
    data = read_text_tables(target_type("class"), dir=str(shared / name), **settings)
    assert data.test is not None
    found = repeats({"train": data.train.strings, "test": data.test.strings})
    assert (found.within, found.between) == (within, {("train", "test"): shared_texts})
