"""Edit distances against a plain table of all prefixes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.tasks.edits import edits


def by_table(given: list[int], wanted: list[int]) -> int:
    row = list(range(len(wanted) + 1))
    for i, item in enumerate(given, 1):
        before, row[0] = row[:], i
        for j, other in enumerate(wanted, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (item != other))
    return row[-1]


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_the_distance_is_that_of_the_table(one: list[int], other: list[int]) -> None:
    assert edits(one, other) == by_table(one, other) == edits(other, one)


def test_long_texts() -> None:
    draw = random.Random(0)
    for length in (63, 64, 65, 200):
        one, other = ([draw.randrange(5) for _ in range(size)] for size in (length, length + draw.randrange(20)))
        assert edits(one, other) == by_table(one, other)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("", "", 0), ("ab", "ab", 0)],
)
def test_known_distances(one: str, other: str, distance: int) -> None:
    assert edits(one, other) == distance
