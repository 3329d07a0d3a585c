"""Transcripts in a column: characters from training alone, blanks, lengths that CTC needs, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from frostline.contracts.targets import NO_TAG, UNKNOWN
from frostline.data.sounds.audio_csv import characters_in
from frostline.data.tables.table import Row, Table
from frostline.data.target_types.transcripts import Transcripts
from frostline.errors import ConfigError, DataError

TYPE = Transcripts()


def table(*texts: str) -> Table:
    return Table("t.csv", [Row("t.csv", place, {"text": text}) for place, text in enumerate(texts, 2)])


def read(texts: Sequence[str], training: Sequence[int], **given: list[str]) -> tuple[list[str], list[list[int]]]:
    names, targets = TYPE.read(table(*texts), ["text"], None, training, **given)
    return names, targets.tolist()


def test_characters_come_from_training() -> None:
    names, targets = read(["ba", "a  b ", "cab"], [0, 1])
    assert names == [" ", "a", "b"]
    assert targets == [[2, 1, NO_TAG], [1, 0, 2], [UNKNOWN, 1, 2]]


def test_characters_that_training_never_shows_are_counted() -> None:
    (note,) = TYPE.reading_notes(table("ba", "cabc", "d"), ["text"], ["a", "b"])
    assert "3 characters do not occur in training transcripts" in note
    assert "'c' (2), 'd' (1)" in note
    assert TYPE.reading_notes(table("ba"), ["text"], ["a", "b"]) == []


def test_known_characters_of_a_run_keep_their_order() -> None:
    assert read(["ab"], [0], known=["b", "a", "z"]) == (["b", "a", "z"], [[1, 0]])


def test_a_vocabulary_gives_the_order_and_must_be_whole() -> None:
    assert read(["ab"], [0], class_names=["b", "a", "z"]) == (["b", "a", "z"], [[1, 0]])
    with pytest.raises(DataError, match=r"data\.vocabulary does not list: 'c' \(2\)"):
        read(["abcc"], [0], class_names=["a", "b"])
    assert read(["ab", "c"], [0], class_names=["a", "b"])[1] == [[0, 1], [UNKNOWN, NO_TAG]]


def test_what_is_described_is_of_training() -> None:
    targets = torch.tensor([[1, 1, NO_TAG], [0, UNKNOWN, 1]])
    described = TYPE.describe(["a", "b", "z"], targets)
    assert described.counts == [1, 3, 0]
    assert TYPE.notes(described) == ["training never shows 'z': nothing is learned about them"]
    assert TYPE.frequencies(described, 2) == "3 characters, the most frequent 'b' (75 %)"
    with pytest.raises(DataError, match="consist of one character"):
        TYPE.require_learnable(TYPE.describe(["a", "b"], torch.tensor([[1, 1]])), 1, "here")


def test_equal_neighbours_need_a_token_between_them() -> None:
    targets = torch.tensor([[1, 1, 1], [1, 2, NO_TAG], [2, NO_TAG, NO_TAG]])
    assert TYPE.least_tokens(targets).tolist() == [5, 2, 1]
    assert TYPE.spans_sample


def test_an_empty_transcript_is_refused() -> None:
    with pytest.raises(DataError, match="the transcript in 'text' is empty") as error:
        read(["ab", "  "], [0, 1])
    assert "line 3" in str(error.value)
    assert "drop the line" in error.value.next_step


def test_two_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="one column"):
        TYPE.require_columns(["a", "b"], None, {})


def test_a_vocabulary_has_a_character_in_each_line(tmp_path: Path) -> None:
    file = tmp_path / "letters.txt"
    file.write_text("b\na\n \nß\n")
    assert characters_in(file) == ["b", "a", " ", "ß"]
    for content, message in (("ab\nc\n", "line 1: 'ab'"), ("a\nb\na\n", "'a' twice"), ("", "this has nothing")):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            characters_in(file)
