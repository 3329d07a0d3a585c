"""What identifies texts, apart from where they stand."""

from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.data.texts.strings import Places, Strings, Texts

HERE = Places("here", [2, 3], "line")
SAMPLES = st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=3), max_size=3)


def test_the_content_is_of_the_texts_alone() -> None:
    first = Texts([("a",), ("b",)], torch.tensor([0, 1]), HERE)
    other = Texts([("a",), ("b",)], torch.tensor([1, 0]), Places("there", [0, 1], "index"))
    assert first.content == other.content
    assert (first.where(1), other.where(1)) == ("here, line 3", "there, index 1")


@given(SAMPLES, SAMPLES)
def test_different_texts_have_different_contents(first: Sequence[list[str]], other: Sequence[list[str]]) -> None:
    assert (Strings(first, HERE).content == Strings(other, HERE).content) == (first == other)
