"""Predictions read words and texts as training does."""

from pathlib import Path

import pytest
import torch

from frostline.data.texts import conll
from frostline.data.texts.to_predict import TextFile, no_targets, read_sentences, read_texts
from frostline.data.texts.tokenized import TokenSource
from frostline.errors import DataError

TAGGED = "-DOCSTART- -X- O\n\n10\u00a0km B-x\nto O\n-DOCSTART-\nNew York\tB-x\na\u2028b\tO\n \t\nend O\n"


def test_words_are_those_that_training_reads_from_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text(TAGGED)
    assert read_sentences(file).samples == [sentence.words for sentence in conll.read_sentences(file)]
    assert read_sentences(file).samples == [["10\u00a0km", "to"], ["New York", "a\u2028b"], ["end"]]


def test_a_sentence_in_a_line_has_the_words_that_training_reads(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" 10\u00a0km\tto  a\u2028b\u3000c \u00a0 d\n")
    assert read_sentences(tmp_path / "a.txt").samples == [["10\u00a0km", "to", "a\u2028b\u3000c", "d"]]
    (tmp_path / "a.conll").write_text("10\u00a0km\nto\na\u2028b\u3000c\nd\n")
    assert read_sentences(tmp_path / "a.conll").samples == read_sentences(tmp_path / "a.txt").samples


def test_words_need_no_tags_and_have_to_be_there(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("a\nb\n\nc\n")
    assert read_sentences(file).samples == [["a", "b"], ["c"]]
    assert read_sentences(file).notes == []
    file.write_text("a\n\tO\n\nb\n")
    found = read_sentences(file)
    assert found.samples == [["b"]]
    (problem,) = found.problems
    assert "does not begin with a word" in problem.what
    assert problem.where == f"{file}, line 2"


def test_a_sentence_with_other_columns_is_a_problem_and_further_columns_are_told(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("a O\nb O\n\nx y z\nc O\n\nd O\n")
    found = read_sentences(file)
    assert found.samples == [["a", "b"], ["d"]]
    (problem,) = found.problems
    assert "this line has 3 columns, but line 1 has 2: 'x y z'" in problem.what
    assert problem.where == f"{file}, line 4"
    assert found.notes == [f"{file}: of 2 columns the first is read as the words, the others are ignored"]


def test_a_text_goes_on_to_the_end_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("one\u2028still one\r\n\x0ctwo\x85\n".encode())
    assert read_texts(file, ["text"]).samples == [("one\u2028still one",), ("\x0ctwo\x85",)]


@pytest.mark.parametrize("blank", ['""', ","])
def test_no_blank_row_of_a_table_goes_missing(tmp_path: Path, blank: str) -> None:
    file = tmp_path / "a.csv"
    between = "," if "," in blank else ""
    file.write_text(f"text{between}\na good film{between}\n{blank}\na bad film{between}\n")
    found = read_texts(file, ["text"])
    assert found.samples == [("a good film",), ("a bad film",)]
    assert [problem.where for problem in found.problems] == [f"{file}, line 3"]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
def test_what_cannot_be_read_is_named_and_the_others_go_on(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    content = {
        "a.txt": "one\n \ntwo\n\nthree\n",
        "a.csv": "text,id\none,1\n ,2\ntwo,3\nfour\nthree,5\n",
        "a.jsonl": '{"text": "one"}\n{"text": ""}\n{"text": "two"}\n{"txt": "a"}\n{"text": "three"}\n',
    }
    file.write_text(content[name])
    found = read_texts(file, ["text"])
    assert found.samples == [("one",), ("two",), ("three",)]
    first = 2 if name == "a.csv" else 1
    assert sorted(str(problem.where) for problem in found.problems) == [
        f"{file}, line {line}" for line in (first + 1, first + 3)
    ]


def test_further_columns_of_a_table_are_kept_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,text,label\n007, one ,x\n008,two,\n")
    found = read_texts(file, ["text"])
    assert found.given == {"id": ["007", "008"], "text": [" one ", "two"], "label": ["x", ""]}
    assert list(found.given) == ["id", "text", "label"]


def test_texts_without_a_token_are_problems_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,text\n1,one\n2,two\n3,three\n")
    found = read_texts(file, ["text"]).without({1}, "no token")
    assert (found.samples, found.given["id"]) == ([("one",), ("three",)], ["1", "3"])
    assert [problem.where for problem in found.problems] == [f"{file}, line 3"]


def test_blank_lines_after_the_last_text_are_none(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\ntwo\n\n \n")
    assert read_texts(file, ["text"]).samples == [("one",), ("two",)]
    file.write_text("\n\n")
    with pytest.raises(DataError, match="no text"):
        read_texts(file, ["text"])


def test_how_the_end_of_a_name_is_written_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "A.TXT"
    file.write_text("one two\n")
    assert read_texts(file, ["text"]).samples == [("one two",)]
    assert read_sentences(file).samples == [["one", "two"]]


@pytest.mark.parametrize("end", [".csv", ".JSONL", ".parquet"])
def test_cells_of_a_table_are_not_taken_for_words(tmp_path: Path, end: str) -> None:
    file = tmp_path / f"a{end}"
    file.write_text('{"tokens": ["a", "b"]}\n')
    with pytest.raises(DataError, match="this is a table"):
        read_sentences(file)


def test_batches_of_long_texts_are_as_small_as_in_training() -> None:
    lengths = [64, 8, 60, 8, 8, 58]
    rows = [torch.zeros(length, 3, dtype=torch.int32) for length in lengths]
    data = TextFile(TokenSource.of(rows, no_targets(rows)), batch_size=4, batch_tokens=128)
    assert all(len(batch) * max(lengths[place] for place in batch) <= 128 for batch in data.batches)
    assert sorted(data.order) == list(range(6))
