"""Tables as people have them."""

from pathlib import Path

import pytest

from frostline.data.table import read_table
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
        ("blanks.csv", "\npath, label\n a.png ,cat\n,\n\nb.png,dog"),
    ],
)
def test_a_table_is_read_whatever_wrote_it(tmp_path: Path, name: str, content: str) -> None:
    assert cells(put(tmp_path, content, name)) == [("a.png", "cat"), ("b.png", "dog")]


def test_quoted_fields_hold_separators_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    file = put(tmp_path, 'path,label\n"a,b.png","a ""big"" cat"\n"c.png","one\ntwo"\nd.png,dog\n')
    assert cells(file) == [("a,b.png", 'a "big" cat'), ("c.png", "one\ntwo"), ("d.png", "dog")]
    assert [row.line for row in read_table(file, COLUMNS).rows] == [2, 3, 5]
    assert read_table(file, COLUMNS).rows[2].where == f"{file}, line 5"


def test_characters_that_are_no_ends_of_lines_in_a_table_stay_where_they_are(tmp_path: Path) -> None:
    assert cells(put(tmp_path, "path,label\na.png,cat\u2028s\x0bx\n")) == [("a.png", "cat\u2028s\x0bx")]


BAD: dict[str, tuple[str | bytes, str, str, str]] = {
    "nothing": ("", "the table is empty", "labels.csv", "path,label"),
    "no lines": ("path,label\n", "no lines", "labels.csv", "a line for each picture"),
    "a column is missing": (
        "path,labels\na.png,cat\n",
        "no column 'label': did you mean labels?; the columns are path, labels",
        "line 1",
        "data.target_columns",
    ),
    "semicolons": ("path;label\na.png;cat\n", "there is no column 'path'", "line 1", "commas, not by semicolons"),
    "a column twice": ("path,label,label\na.png,cat,dog\n", "'label' is there 2 times", "line 1", "rename"),
    "a short line": ("path,label\na.png,cat\nb.png\n", "1 fields, and the first line 2", "line 3", "quotes"),
    "a long line": ("path,label\na.png,cat, dog\n", "3 fields, and the first line 2", "line 2", "quotes"),
    "not UTF-8": ("path,label\na.png,cat\nb.png,bär\n".encode("latin1"), "not UTF-8", "line 3", "iconv"),
    "an open quote": ('path,label\na.png,cat\n"b.png,dog\n', "unexpected end of data", "line 3", "ends with a quote"),
    "text after a quote": ('path,label\n"a.png"x,cat\n', "expected after", "line 2", "ends with a quote"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_be_read_says_where_and_what_to_do(tmp_path: Path, case: str) -> None:
    content, what, where, next_step = BAD[case]
    with pytest.raises(DataError) as refused:
        read_table(put(tmp_path, content), COLUMNS)
    assert what in refused.value.what
    assert where in str(refused.value.where)
    assert next_step in refused.value.next_step


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.txt", "labels"])
def test_files_of_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"a table is a \.csv or a \.tsv file"):
        read_table(put(tmp_path, "path,label\na.png,cat\n", name), COLUMNS)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file") as refused:
        read_table(tmp_path / "absent.csv", COLUMNS)
    assert refused.value.where == tmp_path / "absent.csv"
