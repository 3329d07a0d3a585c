"""Any number of labels for each sample."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.contracts.targets import Targets
from frostline.data.sampling import stratified_split
from frostline.data.target_types.labels import Labels
from frostline.errors import ConfigError, DataError

LABELS = Labels()


def test_samples_with_each_label_are_counted() -> None:
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    assert LABELS.counts(["a", "b"], targets) == {"a": 3, "b": 1}
    assert LABELS.describe(["a", "b"], targets) == Targets("labels", ["a", "b"], [3, 1], {})


def test_the_most_frequent_label_is_named_with_its_share_of_the_samples() -> None:
    assert LABELS.frequencies(Targets("labels", ["a", "b"], [22, 11], {}), 22) == (
        "2 labels, the most frequent 'a' (100 %)"
    )


def test_a_label_that_all_have_is_named() -> None:
    LABELS.require_learnable(Targets("labels", ["a", "b"], [9, 5], {}), 10, "here")
    with pytest.raises(DataError, match="every training sample has the label 'b'"):
        LABELS.require_learnable(Targets("labels", ["a", "b"], [9, 10], {}), 10, "here")


def test_labels_stand_in_a_column_each_or_in_one_with_a_separator() -> None:
    LABELS.require_columns(["x", "y"], None, {"path": "data.path_column"})
    LABELS.require_columns(["x"], "|", {"path": "data.path_column"})
    for columns, separator in ((["x", "y"], "|"), (["x"], "")):
        with pytest.raises(ConfigError, match="separates labels within one column"):
            LABELS.require_columns(columns, separator, {"path": "data.path_column"})


def test_the_rarest_label_of_a_sample_is_its_stratum() -> None:
    targets = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 1, 1]]).float()
    assert LABELS.strata(targets).tolist() == [1, 0, 1, 3, 2, 2]  # they occur 4, 3 and 2 times


@given(number=st.integers(30, 200), seed=st.integers(0, 2**31), fraction=st.floats(0.1, 0.5))
def test_rare_labels_are_shared_out_and_frequent_ones_follow(number: int, seed: int, fraction: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    targets = (torch.rand(number, 3, generator=draw) < torch.tensor([0.5, 0.3, 0.1])).float()
    targets[:5, 2] = 1.0
    rare = targets.sum(0).argmin()
    rest, split = stratified_split(LABELS.strata(targets), fraction, seed)
    assert sorted([*rest.tolist(), *split.tolist()]) == list(range(number))
    count = int(targets[:, rare].sum())
    assert int(targets[split, rare].sum()) == min(max(round(count * fraction), 1), count - 1)
    assert len(split) == pytest.approx(number * fraction, abs=2)  # half a sample for each of four strata


def test_mixed_labels_are_shares_of_both() -> None:
    own, other = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    mixed = LABELS.mix(own, other, torch.tensor([[0.25], [0.75]]), 2)
    assert mixed.tolist() == [[0.25, 0.0], [0.75, 1.0]]
