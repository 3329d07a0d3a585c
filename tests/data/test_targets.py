"""What a training part says of its targets."""

import numpy as np
import pytest
import torch

from frostline.contracts.targets import NO_TAG, Targets
from frostline.data.target_statistics import alike_notes, counts_of, frequencies_said, require_learnable, targets_of
from frostline.errors import DataError


def test_samples_of_each_class_are_counted_and_classes_without_any() -> None:
    assert counts_of("class", ["a", "b", "c"], torch.tensor([2, 0, 2])) == {"a": 1, "b": 0, "c": 2}


def test_samples_with_each_label_are_counted() -> None:
    assert counts_of("labels", ["a", "b"], torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])) == {"a": 3, "b": 1}


TAGGED = torch.tensor([[0, 1, 2, 2], [0, 0, NO_TAG, NO_TAG], [2, 2, 2, NO_TAG], [NO_TAG] * 4])


def test_samples_with_each_entity_are_counted_by_how_it_begins() -> None:
    assert counts_of("tags", ["O", "B-x", "I-x", "B-y", "I-y"], TAGGED) == {"x": 1, "y": 0}


def test_of_tags_words_are_counted_and_how_many_a_sample_has() -> None:
    said = targets_of("tags", ["O", "B-x", "I-x", "B-y"], TAGGED)
    assert said == Targets("tags", ["O", "B-x", "I-x", "B-y"], [3, 1, 5, 0], [9 / 4], [])


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (Targets("class", ["a", "b", "c"], [1, 13, 8], [], []), "3 classes, the most frequent 'b' (59 %)"),
        (Targets("labels", ["a", "b"], [22, 11], [], []), "2 labels, the most frequent 'a' (100 %)"),
        (Targets("tags", ["O", "B-x"], [150, 50], [9.1], []), "2 tags, the most frequent 'O' (75 %)"),
        (Targets("numbers", ["p"], [], [3.25], [0.5]), "'p' 3.25 ± 0.5"),
        (Targets("numbers", [*"pqrs"], [], [1.0] * 4, [2.0] * 4), "'p' 1 ± 2, 'q' 1 ± 2, 'r' 1 ± 2, ..."),
    ],
)
def test_what_is_most_frequent_is_said_with_its_share_of_22_samples(targets: Targets, said: str) -> None:
    assert frequencies_said(targets, 22) == said


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_numbers_have_the_mean_and_the_deviation_of_their_column(offset: float) -> None:
    numbers = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) + offset
    said = targets_of("numbers", ["a", "b", "c"], numbers)
    exact = numbers.double().numpy()
    assert (said.kind, said.names, said.counts) == ("numbers", ["a", "b", "c"], [])
    np.testing.assert_allclose(said.mean, exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(said.std, exact.std(0), rtol=1e-12)


def test_the_order_of_the_samples_changes_no_bit() -> None:
    numbers = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0)).exp()
    assert targets_of("numbers", ["a", "b"], numbers) == targets_of("numbers", ["a", "b"], numbers.flip(0))


def test_a_label_that_all_have_is_named() -> None:
    require_learnable(Targets("labels", ["a", "b"], [9, 5], [], []), 10, "here")
    with pytest.raises(DataError, match="every training sample has the label 'b'"):
        require_learnable(Targets("labels", ["a", "b"], [9, 10], [], []), 10, "here")


def test_a_tag_that_all_words_have_is_named() -> None:
    require_learnable(Targets("tags", ["O", "B-x"], [9, 1], [5.0], []), 2, "here")
    with pytest.raises(DataError, match="every training word has the tag 'O'") as refused:
        require_learnable(Targets("tags", ["O", "B-x"], [10, 0], [5.0], []), 2, "here")
    assert "other tags" in refused.value.next_step


@pytest.mark.parametrize(("mean", "std"), [(5.0, 0.0), (0.0, 0.0), (1.7e9, 100.0)])
def test_numbers_that_are_nearly_the_same_are_named(mean: float, std: float) -> None:
    require_learnable(Targets("numbers", ["a"], [], [1.7e9], [1e5]), 10, "here")
    with pytest.raises(DataError, match="the numbers of 'b' are the same"):
        require_learnable(Targets("numbers", ["a", "b"], [], [0.0, mean], [1.0, std]), 10, "here")


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["Pos", "pos"], ["'Pos' and 'pos'"]),
        (["0", "+0", "1", "01", "1.0"], ["'0' and '+0'", "'1' and '01' and '1.0'"]),
        (["True", "true", "1"], ["'True' and 'true' and '1'"]),
        (["nan", "None"], ["'nan' and 'None'"]),
        (["pos", "pos\u200b"], ["'pos'"]),
        (["new york", "New_York", "new-york"], ["'new york' and 'New_York' and 'new-york'"]),
        (["A", "A-", "A+", "B"], []),
        (["cat", "dog"], []),
    ],
)
def test_names_that_may_be_one_class_are_told(names: list[str], alike: list[str]) -> None:
    notes = alike_notes(Targets("class", names, [1] * len(names), [], []))
    assert len(notes) == bool(alike)
    assert all(pair in notes[0] for pair in alike)
