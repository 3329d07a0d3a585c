"""Who goes where, for any labels."""

import inspect
import re
from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from frostline.data.pictures.image_csv import ImageCsv
from frostline.data.reader import Reader
from frostline.data.sampling import balanced_subset, require_per_class, stratified_split
from frostline.data.texts.readers import Conll, HfDataset, TextCsv
from frostline.errors import DataError

SEEDS = st.integers(0, 2**31)
FRACTIONS = st.floats(0.001, 0.999)


@st.composite
def labelled(draw: st.DrawFn, least: int = 2) -> Tensor:
    """Labels of one to six classes, not all numbers in use, in any order."""
    counts = draw(st.dictionaries(st.integers(0, 9), st.integers(least, 40), min_size=1, max_size=6))
    labels = [label for label, count in counts.items() for _ in range(count)]
    return torch.tensor(draw(st.permutations(labels)))


def per_class(labels: Tensor) -> Counter[int]:
    return Counter(labels.tolist())


@given(labels=labelled(), fraction=FRACTIONS, seed=SEEDS)
def test_every_sample_is_on_one_side_and_in_order(labels: Tensor, fraction: float, seed: int) -> None:
    rest, split = stratified_split(labels, fraction, seed)
    assert sorted([*rest.tolist(), *split.tolist()]) == list(range(len(labels)))
    assert rest.tolist() == sorted(rest.tolist())
    assert split.tolist() == sorted(split.tolist())


@given(labels=labelled(), fraction=FRACTIONS, seed=SEEDS)
def test_each_class_gives_its_share_within_one_and_stays_on_both_sides(
    labels: Tensor, fraction: float, seed: int
) -> None:
    rest, split = stratified_split(labels, fraction, seed)
    kept, taken = per_class(labels[rest]), per_class(labels[split])
    for label, count in per_class(labels).items():
        assert abs(taken[label] - count * fraction) <= 1
        assert min(kept[label], taken[label]) >= 1


@given(labels=labelled(), fraction=FRACTIONS, seed=SEEDS)
def test_the_same_seed_gives_the_same_split(labels: Tensor, fraction: float, seed: int) -> None:
    first, second = (stratified_split(labels.clone(), fraction, seed) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@given(seed=SEEDS, other=SEEDS)
def test_another_seed_gives_another_split(seed: int, other: int) -> None:
    assume(seed != other)
    labels = torch.arange(400) % 4  # two equal splits of 20 of 100, four times over: never
    assert not torch.equal(stratified_split(labels, 0.2, seed)[1], stratified_split(labels, 0.2, other)[1])


def test_a_split_does_not_depend_on_the_order_of_torchs_own_random_numbers() -> None:
    labels = torch.arange(100) % 3
    torch.manual_seed(1)
    first, state = stratified_split(labels, 0.3, 5)[1], torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, stratified_split(labels, 0.3, 5)[1])
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_the_part_is_a_draw_and_not_the_beginning() -> None:
    places = torch.cat([stratified_split(torch.zeros(1000), 0.1, seed)[1] for seed in range(20)])
    assert abs(places.float().mean() - 499.5) < 4 * 1000 / (12 * 2000) ** 0.5  # four standard errors of a uniform mean


@given(labels=labelled(least=1), limit=st.integers(1, 250), seed=SEEDS)
def test_a_subset_has_its_size_and_each_sample_once(labels: Tensor, limit: int, seed: int) -> None:
    subset = balanced_subset(labels, limit, seed).tolist()
    assert len(subset) == min(limit, len(labels))
    assert subset == sorted(set(subset))
    assert all(0 <= index < len(labels) for index in subset)


@given(labels=labelled(least=1), limit=st.integers(1, 250), seed=SEEDS)
def test_a_subset_has_as_many_of_each_class_as_there_are_to_have(labels: Tensor, limit: int, seed: int) -> None:
    available, taken = per_class(labels), per_class(labels[balanced_subset(labels, limit, seed)])
    most = max(taken.values())
    assert all(taken[label] >= min(count, most - 1) for label, count in available.items())


@given(seed=SEEDS, other=SEEDS)
def test_another_seed_gives_another_subset(seed: int, other: int) -> None:
    assume(seed != other)
    labels = torch.arange(300) % 3
    assert torch.equal(balanced_subset(labels, 60, seed), balanced_subset(labels, 60, seed))
    assert not torch.equal(balanced_subset(labels, 60, seed), balanced_subset(labels, 60, other))


def test_classes_with_too_few_are_named_with_their_numbers_and_the_reason() -> None:
    counts = {"dog": 1, "cat": 3, "bird": 0}
    with pytest.raises(DataError, match="'bird' has 0, 'dog' has 1; one each for all needs 2 of each") as refused:
        require_per_class(counts, 2, where="pictures/", reason="one each for all")
    assert "cat" not in refused.value.what
    assert refused.value.where == "pictures/"
    assert refused.value.next_step == "add samples, leave those classes out"
    with pytest.raises(DataError) as refused:
        require_per_class(counts, 2, where=None, reason="", setting="data.classes", divides="data.val_file")
    assert refused.value.next_step.endswith("leave those classes out, or give the splits yourself (data.val_file)")


@pytest.mark.parametrize("kind", [Conll, HfDataset, ImageCsv, TextCsv])
def test_what_tells_the_parts_are_settings_of_that_data(kind: type[Reader]) -> None:
    settings = re.findall(r"data\.(\w+)", kind.divides)
    assert settings
    assert set(settings) <= set(inspect.signature(kind).parameters)


def test_enough_of_each_class_is_enough_and_one_fewer_is_not() -> None:
    require_per_class({"dog": 2, "cat": 3}, 2, where=None, reason="anything")
    with pytest.raises(DataError):
        require_per_class({"dog": 1, "cat": 3}, 2, where=None, reason="anything")


def test_a_stratum_of_one_sample_is_left_whole() -> None:
    """Combinations of labels may be rarer than any class."""
    rest, split = stratified_split(torch.tensor([0, 1, 1, 1, 1]), 0.5, seed=0, keep=2)
    assert 0 in rest
    assert len(split) == 2
