"""A tag for each word."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.contracts.targets import NO_TAG, Targets
from frostline.contracts.tokens import Tokens
from frostline.data.tables.table import Table
from frostline.data.target_types.labels import Labels
from frostline.data.target_types.tags import Tags
from frostline.errors import ConfigError, DataError

TAGS = Tags()
TAGGED = torch.tensor([[0, 1, 2, 2], [0, 0, NO_TAG, NO_TAG], [2, 2, 2, NO_TAG], [NO_TAG] * 4])


def test_samples_with_each_entity_are_counted_by_how_it_begins() -> None:
    assert TAGS.counts(["O", "B-x", "I-x", "B-y", "I-y"], TAGGED) == {"x": 1, "y": 0}


def test_words_are_counted_and_how_many_a_sample_has() -> None:
    found = TAGS.describe(["O", "B-x", "I-x", "B-y"], TAGGED)
    assert found == Targets("tags", ["O", "B-x", "I-x", "B-y"], [3, 1, 5, 0], {"mean_words": 9 / 4})


def test_the_most_frequent_tag_is_named_with_its_share_of_the_words() -> None:
    targets = Targets("tags", ["O", "B-x"], [150, 50], {"mean_words": 9.1})
    assert TAGS.frequencies(targets, 22) == "2 tags, the most frequent 'O' (75 %)"


def test_a_tag_that_all_words_have_is_named() -> None:
    TAGS.require_learnable(Targets("tags", ["O", "B-x"], [9, 1], {"mean_words": 5.0}), 2, "here")
    with pytest.raises(DataError, match="every training word has the tag 'O'") as refused:
        TAGS.require_learnable(Targets("tags", ["O", "B-x"], [10, 0], {"mean_words": 5.0}), 2, "here")
    assert "other tags" in refused.value.next_step


def test_the_rarest_tag_of_a_sample_is_its_stratum_however_many_words_have_it() -> None:
    targets = [[0, 1, 1, 1], [0, 0, 2, NO_TAG], [0, 2, NO_TAG, NO_TAG], [0, 0, NO_TAG, NO_TAG], [NO_TAG] * 4]
    assert TAGS.strata(torch.tensor(targets)).tolist() == [1, 2, 2, 0, 3]


@given(number=st.integers(20, 100), seed=st.integers(0, 2**31))
def test_strata_of_tags_are_those_of_labels(number: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    tags = torch.multinomial(torch.tensor([20.0, 5, 3, 1]), number * 6, replacement=True, generator=draw)
    tags = tags.view(number, 6).masked_fill(torch.rand(number, 6, generator=draw) < 0.3, NO_TAG)
    tags[0, 0] = 3  # of the last tag there is a word, as of the last label
    labels = torch.stack([(tags == tag).any(1) for tag in range(4)], 1).float()
    assert TAGS.strata(tags).tolist() == Labels().strata(labels).tolist()


def test_samples_with_the_same_tags_compare_equal_however_long_others_are() -> None:
    short, long = torch.tensor([[0, 1]]), torch.tensor([[0, 1, NO_TAG], [0, 1, 0]])
    (one,), (same, other) = TAGS.comparable(short), TAGS.comparable(long)
    assert one == same != other


def test_no_column_of_a_table_gives_tags_and_no_picture_mixes_them() -> None:
    with pytest.raises(ConfigError, match="columns of a table cannot hold a tag for each word"):
        TAGS.read(Table("it.csv", []), ["x"], None, [])
    with pytest.raises(ConfigError, match="tags cannot be mixed"):
        TAGS.mix(TAGGED, TAGGED.roll(1, 0), torch.ones(4, 1), 3)


def test_rows_are_the_first_tokens_of_words_that_the_network_sees() -> None:
    """Targets as in a batch: of 4 tokens, then of words that were cut off."""
    no = NO_TAG
    targets = torch.tensor([[no, 2, no, 0, 1, 1], [no, 1, 1, no, no, no]])
    values = torch.arange(8.0).view(2, 4, 1)
    found = TAGS.rows(Tokens(values, torch.ones(2, 4, dtype=torch.bool)), targets)
    assert found.names.tolist() == [2, 0, 1, 1]
    assert found.features.flatten().tolist() == [1, 3, 5, 6]
    assert found.sample.tolist() == [0, 0, 1, 1]
