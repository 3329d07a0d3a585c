"""Pictures for predictions, as a table names them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from frostline.contracts.specs import ImageSpec
from frostline.data.files.paths import FilePaths
from frostline.data.files.unlabelled import Unlabelled, files_in_table
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.reading import problem_of
from frostline.errors import DataError


def put(folder: Path, *lines: str, name: str = "list.csv") -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    files = [tmp_path / "in" / f"{number}.png" for number in range(3)]
    for file in files:
        Image.new("RGB", (9, 9)).save(file)
    return files


def found(file: Path, column: str | None = None, *, suffix: str = "", folder: Path | None = None) -> Unlabelled:
    return files_in_table(file, column, FilePaths(PICTURES, folder or file.parent, suffix, file.parent), None)


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.jsonl", "list.parquet"])
def test_pictures_of_a_table_come_in_its_order_with_its_further_columns(
    tmp_path: Path, pictures: list[Path], name: str
) -> None:
    rows = [("in/2.png", "7"), ("in/0.png", "8"), ("in/2.png", "9")]
    file = tmp_path / name
    if name == "list.parquet":
        pq.write_table(pa.table({"id": [id for _, id in rows], "Image": [path for path, _ in rows]}), file)
    elif name == "list.jsonl":
        file.write_text("".join(json.dumps({"id": id, "Image": path}) + "\n" for path, id in rows))
    else:
        between = "\t" if name == "list.tsv" else ","
        put(tmp_path, between.join(["id", "Image"]), *(between.join([id, path]) for path, id in rows), name=name)
    read = found(file)
    assert read.files == [pictures[2], pictures[0], pictures[2]]
    assert read.given == {"id": ["7", "8", "9"], "Image": ["in/2.png", "in/0.png", "in/2.png"]}
    assert list(read.given) == ["id", "Image"]
    assert (read.problems, read.notes) == ([], [])


def test_paths_are_found_as_in_training(tmp_path: Path, pictures: list[Path]) -> None:
    file = put(tmp_path, "file", "0", r"in\1", "in/2.png")
    read = found(file, suffix=".png")
    assert read.files == pictures[1:]
    assert read.notes == ["1 paths with \\ were read with / instead"]
    assert [str(problem.where) for problem in read.problems] == [f"{file}, line 2"]
    assert "data.dir=" in read.problems[0].next_step
    assert found(put(tmp_path, "file", "0", "1"), suffix=".png", folder=tmp_path / "in").files == pictures[:2]


def test_lines_without_a_picture_are_problems_and_the_others_go_on(tmp_path: Path, pictures: list[Path]) -> None:
    pictures[1].write_bytes(b"torn")
    file = put(tmp_path, "path,id", "in/0.png,1", "in/none.png,2", ",3", ",", "in/1.png,4", "in/2.png", "in/2.png,5")
    read = found(file)
    assert read.given["id"] == ["1", "4", "5"]
    assert [str(problem.where).rpartition(" ")[2] for problem in read.problems] == ["5", "7", "3", "4"]
    read = read.without({1}, lambda file: problem_of(file, ImageSpec(8, 8, (0.5,) * 3, (0.5,) * 3)))
    assert (read.files, read.given["id"]) == ([pictures[0], pictures[2]], ["1", "5"])
    assert read.problems[-1].where == f"{pictures[1]} ({file}, line 6)"
    assert "does not decode" in read.problems[-1].what


@pytest.mark.parametrize(
    ("names", "what", "step"),
    [
        (",id,where", "no column is named path, file, filename, image; the columns are , id, where", "=id, or another"),
        ("id,Path,file", "Path, file could each hold the paths", "=Path, or another"),
        ("my file", "no column is named path", "='my file'"),
    ],
)
def test_a_table_that_leaves_open_which_column_holds_paths_says_so(
    tmp_path: Path, names: str, what: str, step: str
) -> None:
    with pytest.raises(DataError) as refused:
        found(put(tmp_path, names, *[",".join("abc"[: names.count(",") + 1])] * 2))
    assert what in refused.value.what
    assert refused.value.next_step.strip('"').startswith(f"data.path_column{step}")


def test_a_named_column_that_is_not_there_is_offered_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'path'; the columns are id, file") as refused:
        found(put(tmp_path, "id,file", "7,a.png"), "path")
    assert refused.value.next_step.startswith("data.path_column=")
    with pytest.raises(DataError, match="the column 'path' appears 2 times"):
        found(put(tmp_path, "path,path", "a.png,b.png"), "path")
