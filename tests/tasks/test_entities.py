"""Entities against seqeval's, in any sequences of tags, legal or not."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor

from frostline.tasks.entities import Scheme

NAMES = ["O", *(f"{prefix}-{kind}" for kind in ("person", "creative-work", "x") for prefix in "BIES"), "B", "I"]
SENTENCES = st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=8), min_size=1, max_size=6)


def flat(sentences: list[list[str]], names: list[str] = NAMES) -> tuple[Tensor, Tensor]:
    """Tags, and where sentences begin."""
    tags = torch.tensor([names.index(tag) for sentence in sentences for tag in sentence])
    first = torch.tensor([place == 0 for sentence in sentences for place in range(len(sentence))])
    return tags, first


def found(sentences: list[list[str]], names: list[str] = NAMES) -> list[tuple[str, int, int]]:
    """Type, first and last word, counted over all sentences."""
    scheme = Scheme(names)
    begins, types, sizes = scheme.find(*flat(sentences, names))
    return [
        (scheme.types[types[place]], place, place + int(sizes[place]) - 1)
        for place in begins.nonzero().flatten().tolist()
    ]


def seqevals(sentences: list[list[str]]) -> list[tuple[str, int, int]]:
    entities, before = [], 0
    for sentence in sentences:
        entities += [(kind, before + start, before + end) for kind, start, end in get_entities(sentence)]
        before += len(sentence)
    return entities


@given(sentences=SENTENCES)
@example([["I-x"], ["I-x", "I-person", "B-person", "I-person", "O", "I-person"]])
@example([["B-x", "E-x", "I-x", "E-x", "E-x", "S-x", "I-x", "S-x"], ["O", "B", "I", "I-x"]])
def test_entities_are_those_of_seqeval(sentences: list[list[str]]) -> None:
    assert found(sentences) == seqevals(sentences)


@given(
    pairs=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=30)
)
def test_an_entity_is_met_by_one_of_its_type_and_its_words(pairs: list[tuple[str, str, bool]]) -> None:
    wanted: list[list[str]] = []
    given_: list[list[str]] = []
    for number, (truth, guess, goes_on) in enumerate(pairs):
        if number == 0 or not goes_on:
            wanted.append([])
            given_.append([])
        wanted[-1].append(truth)
        given_[-1].append(guess)
    scheme = Scheme(NAMES)
    (truths, first), (guesses, _) = flat(wanted), flat(given_)
    a, b = set(seqevals(wanted)), set(seqevals(given_))
    counts = [[sum(kind == name for kind, *_ in which) for name in scheme.types] for which in (a & b, a, b)]
    assert scheme.count(truths, guesses, first).tolist() == counts


def test_tags_that_are_no_entities_are_types_of_their_own() -> None:
    """Parts of speech: seqeval would take the first letter for a prefix."""
    names = ["NOUN", "SYM", "O", "ADJ", "half-open"]
    assert Scheme(names).types == ["NOUN", "SYM", "ADJ", "half-open"]
    assert found([["SYM", "SYM", "NOUN", "O", "NOUN"], ["NOUN", "half-open"]], names) == [
        ("SYM", 0, 1),
        ("NOUN", 2, 2),
        ("NOUN", 4, 4),
        ("NOUN", 5, 5),
        ("half-open", 6, 6),
    ]


@pytest.mark.parametrize("names", [["O"], ["O", "B-x"]])
def test_no_words_have_no_entities(names: list[str]) -> None:
    scheme, nothing = Scheme(names), torch.zeros(0, dtype=torch.int64)
    assert scheme.count(nothing, nothing, nothing.bool()).tolist() == [[0] * len(scheme.types)] * 3


def test_what_tags_say_stays_out_of_checkpoints() -> None:
    assert Scheme(NAMES).state_dict() == {}
