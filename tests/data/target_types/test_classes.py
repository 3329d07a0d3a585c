"""One class for each sample."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import one_hot

from frostline.contracts.targets import Targets
from frostline.data.target_types.classes import Classes
from frostline.data.target_types.find import target_type
from frostline.errors import ConfigError
from moves import Moves

CLASSES = Classes()


def test_samples_of_each_class_are_counted_and_classes_without_any() -> None:
    targets = torch.tensor([2, 0, 2])
    assert CLASSES.counts(["a", "b", "c"], targets) == {"a": 1, "b": 0, "c": 2}
    assert CLASSES.describe(["a", "b", "c"], targets) == Targets("class", ["a", "b", "c"], [1, 0, 2], {})


def test_classes_are_strata() -> None:
    labels = torch.tensor([2, 0, 1, 2])
    assert CLASSES.strata(labels) is labels


def test_the_most_frequent_class_is_named_with_its_share_of_the_samples() -> None:
    targets = Targets("class", ["a", "b", "c"], [1, 13, 8], {})
    assert CLASSES.frequencies(targets, 22) == "3 classes, the most frequent 'b' (59 %)"


def test_a_class_stands_in_one_column() -> None:
    CLASSES.require_columns(["x"], None, {"path": "data.path_column"})
    with pytest.raises(ConfigError, match="one column of targets, but 2 are named"):
        CLASSES.require_columns(["x", "y"], None, {"path": "data.path_column"})
    with pytest.raises(ConfigError, match="several labels in one column"):
        CLASSES.require_columns(["x"], "|", {"path": "data.path_column"})
    with pytest.raises(ConfigError, match="no column of targets is named"):
        CLASSES.require_columns([], None, {"path": "data.path_column"})


@pytest.mark.parametrize(
    ("columns", "dividing", "said", "where", "step"),
    [
        (["path"], {}, "in data.path_column and in data.target_columns", "target", "[<another column>]"),
        (["x", "path"], {}, "in data.path_column and in data.target_columns", "target", "[x]"),
        (["x", "x", "y"], {}, "named twice in data.target_columns", "target", "[x,y]"),
        (["x"], {"x": "data.group_columns"}, "in data.target_columns and in data.group_columns", "group", "null"),
        (["x"], {"a": "data.group_columns", "x": "data.group_columns"}, "in data.group_columns", "group", "[a]"),
        (["x"], {"path": "data.group_columns"}, "in data.path_column and in data.group_columns", "group", "null"),
    ],
)
def test_a_column_has_one_use(columns: list[str], dividing: dict[str, str], said: str, where: str, step: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        CLASSES.require_columns(columns, None, {"path": "data.path_column"}, dividing)
    setting = f"data.{where}_columns"
    assert (raised.value.where, str(raised.value.next_step).strip("'")) == (setting, f"{setting}={step}")
    with pytest.raises(ConfigError) as raised:
        CLASSES.require_columns(["x"], None, {}, {"x": "data.time_column"})
    assert raised.value.next_step == "data.split_by=random data.time_column=null"


@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=20),
    share=st.floats(0, 1, width=32),
    shift=st.integers(0, 20),
)
def test_mixed_classes_are_probabilities(targets: list[int], share: float, shift: int) -> None:
    own = torch.tensor(targets)
    other = own.roll(shift)
    kept = torch.full((len(targets), 1), share)
    mixed = CLASSES.mix(own, other, kept, 5)
    assert torch.equal(mixed, kept * one_hot(own, 5).float() + (1 - kept) * one_hot(other, 5).float())
    torch.testing.assert_close(mixed.sum(1), torch.ones(len(targets)))


def test_a_class_and_floats_are_mixed_by_name() -> None:
    """Each by the share of its picture, with the sample before it."""
    label, share = torch.tensor([1, 0, 2]), torch.tensor([[0.25], [1.0], [0.5]])
    maps = torch.arange(24.0).view(3, 2, 2, 2)
    mixed = CLASSES.mixed({"label": label, "maps": maps, "weight": maps[:, 0, 0, 0]}, share, 3)
    assert torch.equal(mixed["label"], CLASSES.mixed(label, share, 3))
    assert mixed["label"].tolist() == [[0, 0.25, 0.75], [1, 0, 0], [0.5, 0, 0.5]]
    assert torch.equal(mixed["maps"], torch.stack([0.25 * maps[0] + 0.75 * maps[2], maps[1], (maps[2] + maps[1]) / 2]))
    assert mixed["weight"].tolist() == mixed["maps"][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("other", [torch.tensor([0, 1]), torch.zeros(2, 3, dtype=torch.int64), torch.ones(2) > 0])
def test_integers_beside_a_class_are_not_mixed(other: Tensor) -> None:
    with pytest.raises(ConfigError, match="integers: label, other") as refused:
        CLASSES.mixed({"label": torch.tensor([1, 0]), "other": other}, torch.ones(2, 1), 3)
    assert refused.value.next_step == "data.augment=standard"


def test_integers_that_are_no_class_are_not_mixed() -> None:
    targets = {"rows": torch.zeros(2, 3, dtype=torch.int64), "teacher": torch.zeros(2, 3)}
    for kind in (CLASSES, target_type("numbers")):
        with pytest.raises(ConfigError, match="integers: rows"):
            kind.mixed(targets, torch.ones(2, 1), 3)
    with pytest.raises(ConfigError, match="integers: label"):
        target_type("numbers").mixed({"label": torch.tensor([1, 0])}, torch.ones(2, 1), 3)


def test_a_class_stays_where_its_picture_moves() -> None:
    targets = torch.tensor([1, 0])
    assert CLASSES.follow(targets, Moves()) is targets


def test_samples_of_one_class_compare_equal() -> None:
    first, second, third = CLASSES.comparable(torch.tensor([3, 1, 3]))
    assert first == third != second


def test_classes_that_are_trained_and_not_scored_are_told() -> None:
    labels = {"train": [0, 1, 2, 0], "val": [0, 1], "test": [2]}
    splits = {name: SimpleNamespace(labels=torch.tensor(own)) for name, own in labels.items()}
    assert CLASSES.examine(splits, ["a", "b", "c", "d"], "here") == [
        "no val samples of: c; there they can only be wrong answers",
        "no test samples of: a, b; there they can only be wrong answers",
    ]
    assert CLASSES.examine({"test": splits["test"]}, ["a", "b", "c"], "here") == [], "nothing is known of its training"
