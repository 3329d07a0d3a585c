"""Paths of pictures in a table, as other programs and systems write them."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from frostline.data.files.paths import FilePaths
from frostline.data.pictures.files import PICTURES
from frostline.errors import DataError


def put(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_paths_of_windows_are_read_and_counted(tmp_path: Path) -> None:
    put(tmp_path, "ant/a.png", "ant/b.png", "bee/c.png")
    paths = FilePaths(PICTURES, tmp_path, "")
    assert paths.find("ant\\a.png", "line 2") == tmp_path / "ant" / "a.png"
    assert paths.find(".\\ant\\..\\bee\\c.png", "line 3") == tmp_path / "bee" / "c.png"
    assert paths.find("ant/b.png", "line 4") == tmp_path / "ant" / "b.png"
    assert paths.notes() == ["2 paths with \\ were read with / instead"]


def test_a_backslash_in_a_name_is_a_letter_where_there_is_such_a_file(tmp_path: Path) -> None:
    put(tmp_path, "a\\b.png")
    paths = FilePaths(PICTURES, tmp_path, "")
    assert paths.find("a\\b.png", "line 2") == tmp_path / "a\\b.png"
    assert paths.notes() == []


@pytest.mark.parametrize("path", ["..\\a.png", "C:\\a.png", "\\\\host\\a.png"])
def test_paths_of_windows_do_not_lead_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "within").mkdir()
    put(tmp_path, "a.png")
    with pytest.raises(DataError):
        FilePaths(PICTURES, tmp_path / "within", "").find(path, "line 2")


def test_paths_with_dots_may_be_relative_to_the_table(tmp_path: Path) -> None:
    put(tmp_path, "pictures/ant/a.png", "tables/it.csv")
    paths = FilePaths(PICTURES, tmp_path, "", tmp_path / "tables")
    assert paths.find("../pictures/ant/a.png", "line 2") == tmp_path / "pictures" / "ant" / "a.png"
    with pytest.raises(DataError, match="is not that of a picture") as refused:
        FilePaths(PICTURES, tmp_path / "tables", "").find("../pictures/ant/a.png", "line 2")
    assert refused.value.next_step == f"data.dir={tmp_path}"


@pytest.mark.parametrize("begin", ["/home/me/", "C:\\mine\\", "\\\\host\\share\\"])
def test_whole_paths_of_another_machine_are_read_without_their_beginning(tmp_path: Path, begin: str) -> None:
    put(tmp_path, "ant/a.png", "bee/a.png")
    paths = FilePaths(PICTURES, tmp_path, "")
    for name in ("ant", "bee"):
        assert paths.find(f"{begin}{name}/a.png", "line 2") == tmp_path / name / "a.png"
    (note,) = [note for note in paths.notes() if "at their start" in note]
    assert note.startswith("2 paths were read without ")
    with pytest.raises(DataError):  # another beginning
        paths.find("/elsewhere/ant/a.png", "line 3")


def test_a_missing_suffix_is_proposed_and_taken(tmp_path: Path) -> None:
    put(tmp_path, "train/a.b.jpg")
    with pytest.raises(DataError, match="no such picture") as refused:
        FilePaths(PICTURES, tmp_path, "").find("train/a.b", "line 2")
    assert refused.value.next_step == "data.suffix=.jpg"
    assert FilePaths(PICTURES, tmp_path, ".jpg").find("train/a.b", "line 2") == tmp_path / "train" / "a.b.jpg"


def test_the_folder_within_that_holds_a_picture_is_proposed(tmp_path: Path) -> None:
    put(tmp_path, "train/ant/a.png", "test/b.png")
    with pytest.raises(DataError) as refused:
        FilePaths(PICTURES, tmp_path, "").find("ant/a.png", "line 2")
    assert refused.value.next_step == f"data.dir={tmp_path / 'train'}"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_found_however_they_are_composed(tmp_path: Path, form: str) -> None:
    name = "größe é.png"
    put(tmp_path, unicodedata.normalize(form, name))  # type: ignore[arg-type]
    for spelled in ("NFC", "NFD"):
        found = FilePaths(PICTURES, tmp_path, "").find(unicodedata.normalize(spelled, name), "line 2")  # type: ignore[arg-type]
        assert found.is_file()


def test_a_suffix_is_added_only_where_it_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    for suffix in (".jpg", "jpg"):
        paths = FilePaths(PICTURES, tmp_path, suffix)
        assert paths.find("a", "line 2") == tmp_path / "a.jpg"
        assert paths.find("b.jpg", "line 3") == tmp_path / "b.jpg"


def test_absolute_paths_of_pictures_elsewhere_are_read(tmp_path: Path) -> None:
    for folder in ("table", "pictures"):
        (tmp_path / folder).mkdir()
    there = tmp_path / "pictures" / "a.png"
    Image.new("RGB", (4, 4)).save(there)
    paths = FilePaths(PICTURES, tmp_path / "table", "", tmp_path / "table")
    assert paths.find(str(there), "line 2") == there
    assert (
        FilePaths(PICTURES, tmp_path / "table", ".png", tmp_path / "table").find(str(there.with_suffix("")), "")
        == there
    )
    assert paths.notes() == [f"1 pictures are at absolute paths outside of {tmp_path / 'table'}"]
    copy = tmp_path / "copies" / "a.png"
    copy.parent.mkdir()
    Image.new("RGB", (4, 4)).save(copy)
    assert FilePaths(PICTURES, copy.parent, "", tmp_path / "table").find(str(there), "line 2") == copy, (
        "data.dir comes first"
    )
    with pytest.raises(DataError, match="is not that of a picture"):
        paths.find("../pictures/a.png", "line 2")
