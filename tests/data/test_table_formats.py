"""Tables as people have them."""

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frostline.data.tables.formats import column_names, read_table
from frostline.errors import DataError

COLUMNS = ["path", "label"]


def put(folder: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def cells(file: Path) -> list[tuple[str, ...]]:
    return [tuple(row.cells.values()) for row in read_table(file, COLUMNS).rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", "path,label\na.png,cat\nb.png,dog\n"),
        ("windows.csv", "path,label\r\na.png,cat\r\nb.png,dog\r\n"),
        ("old mac.csv", "path,label\ra.png,cat\rb.png,dog"),
        ("mark.csv", "\ufeffpath,label\na.png,cat\nb.png,dog\n"),
        ("quoted.csv", '"path","label"\n"a.png","cat"\n"b.png","dog"\n'),
        ("tabs.tsv", "path\tlabel\na.png\tcat\nb.png\tdog\n"),
        ("UPPER.CSV", "path,label\na.png,cat\nb.png,dog\n"),
        ("others.csv", "id,label,more,path\n1,cat,x,a.png\n2,dog,y,b.png\n"),
        ("blanks.csv", "\n,\npath, label\n a.png ,cat\n\n \nb.png,dog\n\n"),
    ],
)
def test_a_table_is_read_whatever_wrote_it(tmp_path: Path, name: str, content: str) -> None:
    assert cells(put(tmp_path, content, name)) == [("a.png", "cat"), ("b.png", "dog")]


def test_quoted_fields_hold_separators_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    file = put(tmp_path, 'path,label\n"a,b.png","a ""big"" cat"\n"c.png","one\ntwo"\nd.png,dog\n')
    assert cells(file) == [("a,b.png", 'a "big" cat'), ("c.png", "one\ntwo"), ("d.png", "dog")]
    assert [row.place for row in read_table(file, COLUMNS).rows] == [2, 3, 5]
    assert read_table(file, COLUMNS).rows[2].where == f"{file}, line 5"


def test_characters_that_are_no_ends_of_lines_in_a_table_stay_where_they_are(tmp_path: Path) -> None:
    assert cells(put(tmp_path, "path,label\na.png,cat\u2028s\x0bx\n")) == [("a.png", "cat\u2028s\x0bx")]


BAD: dict[str, tuple[str | bytes, str, str, str]] = {
    "nothing": ("", "the table is empty", "labels.csv", "path,label"),
    "no lines": ("path,label\n", "no lines", "labels.csv", "a line for each sample"),
    "a column is missing": (
        "path,labels\na.png,cat\n",
        "no column 'label': did you mean labels?; the columns are path, labels",
        "line 1",
        "rename one",
    ),
    "semicolons": ("path;label\na.png;cat\n", "there is no column 'path'", "line 1", "commas, not by semicolons"),
    "tabs": ("path\tlabel\na.png\tcat\n", "no column 'path'", "line 1", "not by tabs; or name the file labels.tsv"),
    "bars": ("path|label\na.png|cat\n", "there is no column 'path'", "line 1", "commas, not by bars (|)"),
    "bars and semicolons": ("path|label|a;b;c;d\na.png|cat|1\n", "no column 'path'", "line 1", "not by bars (|)"),
    "a column twice": ("path,label,label\na.png,cat,dog\n", "'label' appears 2 times", "line 1", "rename"),
    "a short line": ("path,label\na.png,cat\nb.png\n", "1 fields, but the header has 2", "line 3", "quotes"),
    "a long line": ("path,label\na.png,cat, dog\n", "3 fields, but the header has 2", "line 2", "quotes"),
    "not UTF-8": ("path,label\na.png,cat\nb.png,bär\n".encode("latin1"), "not UTF-8", "line 3", "iconv"),
    "UTF-16": ("path,label\na.png,cat\n".encode("utf-16"), "not UTF-8", "line 1", "iconv -f utf-16"),
    "UTF-16 without a mark": ("path,label\n".encode("utf-16le"), "NUL", "line 1", "iconv -f utf-16"),
    "a NUL character": ("path,label\na.png,c\0t\n", "NUL", "line 2", "UTF-8"),
    "an open quote": ('path,label\na.png,cat\n"b.png,dog\n', "unexpected end of data", "line 3", "right before the"),
    "text after a quote": ('path,label\n"a.png"x,cat\n', "expected after", "line 2", "right before the"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_be_read_says_where_and_what_to_do(tmp_path: Path, case: str) -> None:
    content, what, where, next_step = BAD[case]
    with pytest.raises(DataError) as refused:
        read_table(put(tmp_path, content), COLUMNS)
    assert what in refused.value.what
    assert where in str(refused.value.where)
    assert next_step in refused.value.next_step


def test_commas_in_a_table_of_tabs_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'path'") as refused:
        read_table(put(tmp_path, "path,label\na.png,cat\n", "labels.tsv"), COLUMNS)
    assert refused.value.next_step == "separate fields by tabs, not by commas; or name the file labels.csv"


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.txt", "labels"])
def test_files_of_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"its suffix is not one of \.csv, \.tsv, \.jsonl, \.parquet"):
        read_table(put(tmp_path, "path,label\na.png,cat\n", name), COLUMNS)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file") as refused:
        read_table(tmp_path / "absent.csv", COLUMNS)
    assert refused.value.where == tmp_path / "absent.csv"


def test_blanks_around_a_cell_stay_where_they_are_wanted(tmp_path: Path) -> None:
    table = read_table(put(tmp_path, "path,label\n a.png , two  words \n"), COLUMNS, verbatim=["label"])
    assert table.rows[0].cells == {"path": "a.png", "label": " two  words "}


def test_a_field_may_be_longer_than_pythons_limit_which_stays_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "x" * (before + 1)
    assert cells(put(tmp_path, f"path,label\na.png,{long}\n")) == [("a.png", long)]
    with pytest.raises(DataError):
        read_table(put(tmp_path, '"path,label\n'), COLUMNS)
    assert csv.field_size_limit() == before


ANYTHING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@example([("", "0"), (",\r", "")])
@given(st.lists(st.tuples(ANYTHING, ANYTHING).filter(lambda row: any(cell.strip() for cell in row)), min_size=1))
def test_what_the_csv_writer_wrote_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    file = tmp_path_factory.mktemp("tables") / "t.csv"
    text, begins = io.StringIO(newline=""), list[int]()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for row in rows:
        begins.append(1 + len(list(io.StringIO(text.getvalue(), newline=""))))
        writer.writerow(row)
    file.write_bytes(text.getvalue().encode())
    table = read_table(file, COLUMNS, verbatim=COLUMNS)
    assert [tuple(row.cells.values()) for row in table.rows] == rows
    assert [row.place for row in table.rows] == begins


# --- an object per line, parquet ---


def test_values_of_json_are_cells(tmp_path: Path) -> None:
    lines = [
        {"path": "a\u2028\nb", "label": 1, "more": [1]},
        {"label": 2.5, "path": "c"},
        {"label": True, "path": None},
        {"label": float("nan"), "path": "😀"},
    ]
    file = put(tmp_path, "\ufeff" + "\r\n\n".join(json.dumps(line) for line in lines), "t.jsonl")
    rows = read_table(file, COLUMNS, verbatim=["path"]).rows
    assert [row.cells for row in rows] == [
        {"path": "a\u2028\nb", "label": "1"},
        {"path": "c", "label": "2.5"},
        {"path": "", "label": "true"},
        {"path": "😀", "label": ""},
    ]
    assert [row.place for row in rows] == [1, 3, 5, 7]


BAD_JSON = {
    "broken": ('{"path": "a", "label": ', "this line is not JSON", "one object per line"),
    "no object": ('["a", 1]', "holds a list, not an object", "not a list of all objects"),
    "a list within": ('{"path": "a", "label": ["x", "y"]}', "'label' holds a list", "data.separator"),
    "an object within": ('{"path": {"x": 1}, "label": 1}', "'path' holds an object", "write text"),
    "a column less": (
        '{"path": "a", "lable": 1}',
        "'label': did you mean lable?; the columns are path, lable",
        "use the names of the lines above",
    ),
    "a name twice": ('{"path": "a", "label": 1, "label": 2}', "'label' appears 2 times", "rename"),
    "half a character": ('{"path": "\\ud83d", "label": 1}', "half of a surrogate pair", "correct"),
    "a NUL character": ('{"path": "a\\u0000", "label": 1}', "a NUL character", "correct"),
    "too deep": ("[" * 200_000, "this line is not JSON", "one object per line"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, case: str) -> None:
    line, what, next_step = BAD_JSON[case]
    file = put(tmp_path, '{"path": "a", "label": 0}\n\n' + line, "t.jsonl")
    with pytest.raises(DataError) as refused:
        read_table(file, COLUMNS)
    assert what in refused.value.what
    assert refused.value.where == f"{file}, line 3"
    assert next_step in refused.value.next_step


def written(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def test_values_of_parquet_are_cells(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        label=pa.array([1, None, 3], pa.int8()),
        more=[[1], [2], [3]],
        path=pa.array([" a", "b\n", "a"]).dictionary_encode(),
    )
    rows = read_table(file, COLUMNS, verbatim=["path"]).rows
    assert [row.cells for row in rows] == [
        {"path": " a", "label": "1"},
        {"path": "b\n", "label": ""},
        {"path": "a", "label": "3"},
    ]
    assert rows[1].where == f"{file}, index 1"


def test_further_columns_of_parquet_come_as_text_and_bytes_are_told(tmp_path: Path) -> None:
    nanoseconds = 1_577_836_800_000_000_000
    columns = {
        "path": pa.array(["a"]),
        "when": pa.array([nanoseconds], pa.timestamp("ns")),
        "there": pa.array([nanoseconds // 10**9], pa.timestamp("s", "UTC")),
        "day": pa.array([18262], pa.date32()),
        "price": pa.array([Decimal("1.50")]),
        "raw": pa.array([b"\xff"]),
        "image": pa.array([{"bytes": b"x", "at": datetime(2020, 1, 1)}]),
        "far": pa.array([10**12], pa.timestamp("s")),
    }
    table = read_table(written(tmp_path, **columns), ["path"], others=True)
    assert table.rows[0].cells == {
        "path": "a",
        "when": "2020-01-01T00:00:00",
        "there": "2020-01-01T00:00:00+00:00",
        "day": "2020-01-01",
        "price": "1.50",
        "raw": "/w==",
        "image": '{"bytes": "eA==", "at": "2020-01-01T00:00:00"}',
        "far": "<value out of range: 1000000000000000>",
    }
    assert [note.partition(": ")[2] for note in table.notes] == [
        f"bytes in the column '{name}' are written as base64" for name in ("raw", "image")
    ]


def test_further_columns_of_one_name_and_of_none_all_come(tmp_path: Path) -> None:
    names = ["", "path", "id", "id", "id (2)", ""]
    given = {"": "0", "path": "a", "id": "7", "id (3)": "8", "id (2)": "9", "(2)": "z"}
    separated = put(tmp_path, f"{','.join(names)}\n0,a,7,8,9,z\n")
    arrays = [pa.array([value]) for value in ("0", "a", 7, 8, 9, "z")]
    pq.write_table(pa.Table.from_arrays(arrays, names=names), tmp_path / "t.parquet")
    objects = put(tmp_path, '{"": "0", "path": "a", "id": 7, "id": 8, "id (2)": 9, "": "z"}', "t.jsonl")
    for file in (separated, tmp_path / "t.parquet", objects):
        (row,) = read_table(file, ["path"], others=True).rows
        assert row.cells == given
        assert list(row.cells) == list(given)
        assert column_names(file) == names


def test_names_of_columns_are_those_of_the_first_line_that_has_some(tmp_path: Path) -> None:
    assert column_names(put(tmp_path, '{"path\n{"path": 1, "x": 2}', "t.jsonl")) == ["path", "x"]
    with pytest.raises(DataError, match="this line is not JSON"):
        column_names(put(tmp_path, '{"path\n', "t.jsonl"))
    assert column_names(put(tmp_path, "")) == column_names(put(tmp_path, "", "t.jsonl")) == []


def test_a_folder_named_as_a_partition_adds_no_column(tmp_path: Path) -> None:
    (tmp_path / "label=7").mkdir()
    file = written(tmp_path / "label=7", path=["a"], label=["b"])
    assert cells(file) == [("a", "b")]


def test_parquet_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'label'; the columns are path\n"):
        read_table(written(tmp_path, path=["a"]), COLUMNS)
    with pytest.raises(DataError, match="'label' holds a list") as refused:
        read_table(written(tmp_path, path=["a"], label=[["b"]]), COLUMNS)
    assert refused.value.where == f"{tmp_path / 't.parquet'}, index 0"
    with pytest.raises(DataError, match="the table has no lines"):
        read_table(written(tmp_path, path=pa.array([], pa.string()), label=pa.array([], pa.string())), COLUMNS)
    with pytest.raises(DataError, match="the parquet file cannot be read"):
        read_table(put(tmp_path, "PAR1 and no more", "t.parquet"), COLUMNS)


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"a": "data.text_columns", "lable": "data.target_columns"}, "data.target_columns=[label], or"),
        ({"a": "data.text_columns", "topic": "data.target_columns"}, "data.target_columns=[b], or"),
        ({"a": "data.text_columns", "topic": "data.text_columns"}, "data.text_columns=[a,b], or"),
        ({"a": "data.target_columns", "topic": "data.path_column"}, "data.path_column=b, or"),
        (["a", "topic"], "rename one"),
        (dict.fromkeys(["a", "b", "label", "topic"], "data.text_columns"), "rename one"),
    ],
)
def test_the_next_step_names_a_column_that_there_is(
    tmp_path: Path, settings: dict[str, str] | list[str], step: str
) -> None:
    with pytest.raises(DataError) as refused:
        read_table(put(tmp_path, "a,b,label\n1,2,3\n"), settings)
    assert refused.value.next_step.startswith(step)
    assert refused.value.what.count("label") == (2 if "lable" in settings else 1)
