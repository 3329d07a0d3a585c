"""Where splits lie. What characters are refused is shown on tables, in test_table_formats.py."""

import re
from pathlib import Path

import pytest

from frostline.data.tables.text_files import lines_of, read_utf8, split_files
from frostline.errors import ConfigError, DataError


def test_files_lie_in_the_folder_and_parts_without_one_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").touch()
    found = split_files(str(tmp_path), None, train="a.csv", val=None, test=str(tmp_path / "b.csv"))
    assert found == {"train": tmp_path / "a.csv", "test": tmp_path / "b.csv"}


def test_a_file_with_a_whole_path_that_has_moved_is_found_by_its_new_folder(tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / "a.csv").touch()
    assert split_files(str(new), None, train=str(tmp_path / "old" / "a.csv"), val=None) == {"train": new / "a.csv"}
    with pytest.raises(DataError, match=re.escape(f"no such file: {new / 'old' / 'a.csv'}")):
        split_files(str(new), None, train="old/a.csv", val=None)


def test_a_file_that_is_not_there_is_named_with_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    with pytest.raises(DataError) as refused:
        split_files(str(tmp_path), "SST-2 (Socher et al., 2013)", train="train.csv", val="dev.csv", test=None)
    assert str(tmp_path / "dev.csv") in refused.value.what
    assert refused.value.where == "data.val_file"
    assert refused.value.next_step == (
        "data.val_file=<an existing file>, or data.dir=<the folder of train.csv, dev.csv>; source of the files: SST-2 "
        "(Socher et al., 2013)"
    )
    with pytest.raises(DataError) as refused:
        split_files(None, None, train=str(tmp_path / "mine.csv"), val=None, test=None)
    assert refused.value.next_step == "data.train_file=<an existing file>, or data.dir=<the folder of mine.csv>"


def test_one_file_is_not_two_parts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(ConfigError, match="is used for two splits"):
        split_files(str(tmp_path), None, train="a.csv", val=None, test="./a.csv")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="directory") as refused:
        read_utf8(tmp_path)
    assert refused.value.where == tmp_path


def test_only_the_ends_of_lines_end_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffa\u2028b\x85\r\n\x0cc\x1c\rd\n\ne".encode())
    assert lines_of(read_utf8(tmp_path / "a.txt")) == ["a\u2028b\x85", "\x0cc\x1c", "d", "", "e"]
