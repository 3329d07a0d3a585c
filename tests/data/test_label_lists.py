"""Lists of labels in one cell, as JSON, Python and numpy write them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.data.tables.columns import labels_of
from frostline.data.tables.formats import read_table
from frostline.data.tables.label_lists import as_list, separator_notes
from frostline.data.tables.table import Row, Table
from frostline.errors import DataError


def table(cells: Sequence[str]) -> Table:
    return Table("t.csv", [Row("t.csv", line, {"x": cell}) for line, cell in enumerate(cells, 2)])


def labels(cells: Sequence[str], separator: str | None) -> tuple[list[str], list[list[float]]]:
    names, targets = labels_of(table(cells), ["x"], separator, range(len(cells)))
    return names, targets.tolist()


@pytest.mark.parametrize("separator", [None, "|", ","])
@pytest.mark.parametrize(
    "cells",
    [
        ["['red']", "['cat', 'red']", "[]"],
        ['["red"]', '["cat", "red"]', "[]"],
        ["('red',)", "('cat', 'red')", "()"],
        ["{'red'}", "{'red', 'cat'}", "set()"],
        ["['red']", '["cat", "red"]', ""],
    ],
)
def test_lists_are_labels_with_and_without_a_separator(cells: list[str], separator: str | None) -> None:
    assert labels(cells, separator) == (["cat", "red"], [[0, 1], [1, 1], [0, 0]])


def test_numbers_in_a_list_are_names() -> None:
    assert labels(["[3]", "[3, 17]", "[]"], None)[0] == ["17", "3"]


def test_names_in_brackets_that_are_no_list_are_names() -> None:
    assert labels(["[unknown]|cat", "cat|(other)"], "|")[0] == ["(other)", "[unknown]", "cat"]


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("[0, 1, 1]", "a vector of 0 and 1"),
        ("[0 1 1]", "numpy prints"),
        ("[0. 1. 1.]", "numpy prints"),
        ("['cat' 'dog']", "numpy prints"),
        ("['cat'\n 'dog']", "numpy prints"),
        ("[0.5, 1.0]", "values that are not names"),
        ("[true, false]", "values that are not names"),
        ("[['cat'], ['dog']]", "values that are not names"),
    ],
)
def test_what_only_looks_like_labels_is_refused_with_the_plain_form(cell: str, what: str) -> None:
    with pytest.raises(DataError, match=what) as refused:
        labels([cell, "red|dog"], "|")
    assert refused.value.where == "t.csv, line 2"
    assert "red|dog" in refused.value.next_step


@pytest.mark.parametrize(
    ("cells", "next_step"),
    [
        (["red", "cat,dog"], "\"data.separator=','\""),
        (["red", "cat|dog"], "'data.separator=|'"),
        (["red", "cat;dog"], "\"data.separator=';'\""),
    ],
)
def test_a_separator_that_is_not_set_is_proposed(cells: list[str], next_step: str) -> None:
    with pytest.raises(DataError, match="separator is not set") as refused:
        labels(cells, None)
    assert refused.value.next_step == next_step


def test_a_separator_that_no_cell_has_is_told_with_the_one_that_they_have() -> None:
    (note,) = separator_notes(table(["cat|dog", "cat", "dog|red"]), "x", ";")
    assert "';' is in no cell of 'x', but '|' is in 2" in note
    assert separator_notes(table(["cat|dog", "cat"]), "x", "|") == []
    assert separator_notes(table(["cat", "dog"]), "x", "|") == []


@given(st.text(max_size=30))
def test_any_cell_is_a_list_or_none(cell: str) -> None:
    found = as_list(cell)
    assert found is None or isinstance(found, list)


@pytest.mark.parametrize("values", [[1, 0, 0], [1.0, 0.0, 0.0], [True, False, False]])
def test_vectors_of_other_formats_are_refused_as_those_of_fields(values: list[object], tmp_path: Path) -> None:
    rows = [{"x": values}, {"x": [*values[1:], values[0]]}, {"x": [values[0], *values[:2]]}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        read = read_table(tmp_path / name, ["x"], lists=["x"])
        with pytest.raises(DataError, match=r"vector of 0 and 1|values that are not names"):
            labels_of(read, ["x"], None, range(3))


@pytest.mark.parametrize("cell", ["[cat, dog]", "{dog,cow}", "(a,b)"])
def test_names_in_brackets_without_quotes_are_refused(cell: str) -> None:
    for separator in (None, ","):
        with pytest.raises(DataError, match=r"names without quotes|data.separator is not set"):
            labels([cell, "[1]"], separator)


def test_a_broken_list_among_lists_is_refused_as_one() -> None:
    with pytest.raises(DataError, match="is not a list, but most cells are") as refused:
        labels(['["red"]', '["red", "dog', '["dog"]'], None)
    assert refused.value.next_step.startswith("write a list with quotes and brackets")
