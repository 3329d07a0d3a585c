"""Numbers for each sample."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.contracts.targets import Targets
from frostline.data.sampling import stratified_split
from frostline.data.target_types.numbers import Numbers
from frostline.errors import DataError

NUMBERS = Numbers()


def numbers(names: list[str], mean: list[float], std: list[float]) -> Targets:
    return Targets("numbers", names, [], {"mean": mean, "std": std})


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (numbers(["p"], [3.25], [0.5]), "'p' 3.25 ± 0.5"),
        (numbers([*"pqrs"], [1.0] * 4, [2.0] * 4), "'p' 1 ± 2, 'q' 1 ± 2, 'r' 1 ± 2, ..."),
    ],
)
def test_mean_and_deviation_of_the_first_columns_are_shown(targets: Targets, message: str) -> None:
    assert NUMBERS.frequencies(targets, 22) == message


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_numbers_have_the_mean_and_the_deviation_of_their_column(offset: float) -> None:
    values = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) + offset
    found = NUMBERS.describe(["a", "b", "c"], values)
    exact = values.double().numpy()
    assert (found.kind, found.names, found.counts, set(found.about)) == (
        "numbers", ["a", "b", "c"], [], {"mean", "std"}
    )  # fmt: skip
    np.testing.assert_allclose(found.about["mean"], exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.about["std"], exact.std(0), rtol=1e-12)


@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50), data=st.data())
def test_the_order_of_the_samples_changes_no_bit(values: list[float], data: st.DataObject) -> None:
    column, other = (torch.tensor(it)[:, None] for it in (values, data.draw(st.permutations(values))))
    assert NUMBERS.describe(["a"], column) == NUMBERS.describe(["a"], other)


@pytest.mark.parametrize(("mean", "std"), [(5.0, 0.0), (0.0, 0.0), (1.7e9, 100.0)])
def test_numbers_that_are_nearly_the_same_are_named(mean: float, std: float) -> None:
    NUMBERS.require_learnable(numbers(["a"], [1.7e9], [1e5]), 10, "here")
    with pytest.raises(DataError, match="the numbers of 'b' are the same"):
        NUMBERS.require_learnable(numbers(["a", "b"], [0.0, mean], [1.0, std]), 10, "here")


def test_names_of_numbers_are_no_classes() -> None:
    assert not NUMBERS.has_classes
    assert NUMBERS.counts(["x", "X"], torch.zeros(3, 2)) == {}
    assert NUMBERS.notes(numbers(["x", "X"], [0.0, 0.0], [1.0, 1.0])) == []


# --- strata ---


@given(number=st.integers(1, 500), seed=st.integers(0, 2**31))
def test_strata_of_numbers_are_quantiles(number: int, seed: int) -> None:
    values = torch.randn(number, 1, generator=torch.Generator().manual_seed(seed)).exp()
    strata = NUMBERS.strata(values)
    sizes = [int((strata == stratum).sum()) for stratum in strata.unique()]
    assert len(sizes) == min(10, max(1, number // 20))
    assert max(sizes) - min(sizes) <= 1
    ordered = strata[values.flatten().argsort()]
    assert ordered.tolist() == sorted(ordered.tolist())


def test_a_split_of_numbers_has_their_range() -> None:
    values = torch.arange(200.0)[:, None] ** 3
    _, split = stratified_split(NUMBERS.strata(values), 0.2, seed=0)
    assert len(split) == 40
    assert [int(((split // 20) == tenth).sum()) for tenth in range(10)] == [4] * 10


def test_several_numbers_count_in_standard_deviations() -> None:
    targets = torch.stack([torch.arange(40.0), 1000 * torch.arange(40.0)], 1)
    constant = torch.cat([targets, torch.ones(40, 1)], 1)
    assert NUMBERS.strata(constant).tolist() == NUMBERS.strata(targets).tolist() == [0] * 20 + [1] * 20


def test_mixed_numbers_lie_between_both() -> None:
    mixed = NUMBERS.mix(
        torch.tensor([[100.0], [2.0]]), torch.tensor([[200.0], [4.0]]), torch.tensor([[0.25], [1.0]]), 1
    )
    assert mixed.tolist() == [[175.0], [2.0]]
