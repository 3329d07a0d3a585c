"""Quotes in tables: what they enclose, and what they must not swallow."""

from pathlib import Path

import pytest

from frostline.data.tables.fields import read_fields
from frostline.data.tables.formats import read_table
from frostline.errors import DataError


def put(folder: Path, lines: list[str], name: str) -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_quote_that_swallows_samples_is_refused_with_their_lines(tmp_path: Path, suffix: str) -> None:
    between = "\t" if suffix == "tsv" else ","
    rows = [f"film number {n}{between}{'good' if n % 2 else 'bad'}" for n in range(30)]
    rows[7], rows[11] = f'"{rows[7]}', rows[11].replace(between, f'"{between}')
    file = put(tmp_path, [f"text{between}label", *rows], f"t.{suffix}")
    with pytest.raises(DataError, match="swallow the samples of lines 9 to 13") as refused:
        read_table(file, ["text", "label"], verbatim=["text"])
    assert "data.quotes=false" in refused.value.next_step
    assert len(read_table(file, ["text", "label"], quotes=False).rows) == 30
    whole = read_table(file, ["text", "label"], quotes=True)
    assert len(whole.rows) == 26
    assert "one sample: 9 to 13" in whole.notes[0]


def test_numbers_at_the_end_of_swallowed_lines_are_known_as_targets(tmp_path: Path) -> None:
    rows = [f"film {n},{n}.5" for n in range(12)]
    rows[3], rows[6] = f'"{rows[3]}', 'film 6",6.5'
    with pytest.raises(DataError, match="lines 5 to 8"):
        read_table(put(tmp_path, ["text,score", *rows], "t.csv"), ["text", "score"])


def test_texts_of_several_lines_are_read_and_told(tmp_path: Path) -> None:
    rows = ['"first, line', "second, line", 'third",good', "short,bad", '"a', 'b",bad']
    table = read_table(put(tmp_path, ["text,label", *rows], "t.csv"), ["text", "label"], verbatim=["text"])
    assert [row.cells["text"] for row in table.rows] == ["first, line\nsecond, line\nthird", "short", "a\nb"]
    assert "in 2 samples: 2 to 4, 6 to 7" in table.notes[0]


def test_a_blank_before_a_quote_is_passed_over_and_told(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, ["path,x", 'a.png, "ant"', 'b.png, "bee, wasp"'], "t.csv"), ["path", "x"])
    assert [row.cells["x"] for row in table.rows] == ["ant", "bee, wasp"]
    assert "blanks before quotes" in table.notes[0]


def test_a_text_that_begins_with_a_quoted_word_stays_as_it_is(tmp_path: Path) -> None:
    file = put(tmp_path, ["text\tlabel", ' "Hello" she said\tgood', "plain\tbad"], "t.tsv")
    fields = read_fields(file, None)
    assert [record.fields[0] for record in fields.records] == ["text", ' "Hello" she said', "plain"]
    assert fields.notes == []


def test_quotes_within_a_field_are_letters(tmp_path: Path) -> None:
    file = put(tmp_path, ["text\tlabel", 'a 12" vinyl\tgood', "plain\tbad"], "t.tsv")
    assert read_fields(file, None) == read_fields(file, False)


@pytest.mark.parametrize(
    "lines", [["a.png,ant", "b.png,bee", "c.png,ant"], ["a.png,1.5", "b.png,2.5"], ["a.png,ant", "a.png,bee"]]
)
def test_a_table_without_names_is_told_to_need_them(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(DataError, match="the first line seems to be a sample") as refused:
        read_table(put(tmp_path, lines, "t.csv"), ["path", "x"])
    assert refused.value.next_step == "write column names into the first line: path,x"


def test_all_faulty_lines_are_in_one_message(tmp_path: Path) -> None:
    file = put(tmp_path, ["path,x", *(f"a{n}.png" if n % 2 else f"a{n}.png,ant" for n in range(60))], "t.csv")
    with pytest.raises(DataError, match="30 lines of the table are faulty") as refused:
        read_table(file, ["path", "x"])
    assert "line 3: this line has 1 fields" in refused.value.what
    assert "and 20 more" in refused.value.what


def test_names_of_columns_and_cells_are_compared_after_unicode_normalisation(tmp_path: Path) -> None:
    composed, apart = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
    file = put(tmp_path, [f"path,{apart}", f"a.png,{apart}", f"b.png,{composed}"], "t.csv")
    rows = read_table(file, ["path", composed], verbatim=[]).rows
    assert {row.cells[composed] for row in rows} == {composed}


def test_further_columns_come_as_they_are(tmp_path: Path) -> None:
    file = put(tmp_path, ["id,text,note", "7,a, x "], "t.csv")
    (row,) = read_table(file, ["text"], others=True).rows
    assert row.cells == {"text": "a", "id": "7", "note": " x "}
    lines = put(tmp_path, ['{"text": "a", "id": 7, "more": {"b": [1]}}', '{"text": "b", "other": null}'], "t.jsonl")
    first, second = read_table(lines, ["text"], others=True).rows
    assert first.cells == {"text": "a", "id": "7", "more": '{"b": [1]}'}
    assert second.cells == {"text": "b", "other": ""}


def test_quotes_around_fields_are_counted_if_they_are_letters(tmp_path: Path) -> None:
    file = tmp_path / "it.csv"
    file.write_text('text,label\n"good",a\n"bad",b\nplain "word",a\n', encoding="utf-8")
    (note,) = read_fields(file, False).notes
    assert "2 fields begin and end with a quote" in note


@pytest.mark.parametrize("blank", [",", '"",""', '""', '" "\t', " , "])
def test_a_record_of_separators_or_quotes_is_a_faulty_sample(tmp_path: Path, blank: str) -> None:
    file = put(tmp_path, ["text,x", "a,1", blank.replace("\t", ","), "b,2"], "it.csv")
    with pytest.raises(DataError, match="this line holds only separators") as refused:
        read_table(file, ["text"])
    assert refused.value.where == f"{file}, line 3"
    problems: list[DataError] = []
    assert [row.place for row in read_table(file, ["text"], problems=problems).rows] == [2, 4]
    assert len(problems) == 1


@pytest.mark.parametrize("blank", ['""', '" "', " "])
def test_an_empty_cell_of_a_table_with_one_column_is_a_faulty_sample(tmp_path: Path, blank: str) -> None:
    file = put(tmp_path, ["text", "a", blank, "b"], "it.csv")
    problems: list[DataError] = []
    assert [row.place for row in read_table(file, ["text"], problems=problems).rows] == [2, 4]
    assert [problem.where for problem in problems] == [f"{file}, line 3"]


@pytest.mark.parametrize("quotes", [None, True, False])
def test_empty_lines_between_samples_are_counted_and_others_are_not(tmp_path: Path, quotes: bool | None) -> None:
    file = put(tmp_path, ["", "text,x", "", "a,1", "", " ", "b,2", "", "", " "], "it.csv")
    table = read_table(file, ["text"], quotes=quotes)
    assert [row.cells["text"] for row in table.rows] == ["a", "b"]
    assert table.notes == [f"{file}: 3 empty lines between samples were skipped: lines 3, 5, 6"]
    assert read_table(put(tmp_path, ["text,x", "a,1", "b,2", "", ""], "it.csv"), ["text"], quotes=quotes).notes == []


def test_empty_lines_between_objects_are_counted(tmp_path: Path) -> None:
    file = put(tmp_path, ["", '{"text": "a"}', "", '{"text": "b"}', "", ""], "it.jsonl")
    table = read_table(file, ["text"])
    assert [row.place for row in table.rows] == [2, 4]
    assert table.notes == [f"{file}: one empty line between samples was skipped: line 3"]


def test_blank_records_do_not_make_a_text_of_several_lines_a_swallowed_one(tmp_path: Path) -> None:
    file = put(tmp_path, ["text,label", '"a,', 'b,",good', "c,bad", ","], "it.csv")
    problems: list[DataError] = []
    assert len(read_table(file, ["text", "label"], problems=problems).rows) == 2
