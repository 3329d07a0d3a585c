"""Where the files of predictions lie, beside their table."""

from pathlib import Path

import pytest

from frostline.commands.predicted import require_free, write_files
from frostline.data.predicting import Predicted
from frostline.errors import DataError


def of(*names: str) -> Predicted:
    return Predicted({"file": [*names]}, {}, [], [{".png": name.encode()} for name in names])


@pytest.mark.parametrize(("output", "folder"), [("out.csv", "out"), ("out", "out_files"), ("a.b.csv", "a.b")])
def test_files_lie_in_a_folder_beside_the_table(tmp_path: Path, output: str, folder: str) -> None:
    """Whose name is never that of the table."""
    require_free(tmp_path / output)
    columns = write_files(of("x/1.jpg", "y/1.jpg", "2.jpg"), tmp_path / output)
    assert columns == {"prediction": [f"{folder}/{name}.png" for name in ("1", "1-2", "2")]}
    assert [(tmp_path / path).read_text() for path in columns["prediction"]] == ["x/1.jpg", "y/1.jpg", "2.jpg"]
    assert not (tmp_path / output).exists()


def test_the_place_of_a_folder_that_is_taken_is_refused(tmp_path: Path) -> None:
    folder, output = tmp_path / "out", tmp_path / "out.csv"
    folder.mkdir()
    with pytest.raises(DataError, match="this path exists"):
        require_free(output)
    output.touch()
    require_free(output)  # of an earlier prediction
    folder.rmdir()
    folder.touch()
    with pytest.raises(DataError, match="this path exists"):
        require_free(output)


def test_without_a_table_no_file_is_written_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert write_files(of("1.jpg"), None) == {}
    assert [*tmp_path.iterdir()] == []
    assert "output=<new file>.csv also writes a file for each prediction" in capsys.readouterr().err


def test_names_as_long_as_the_system_allows_have_files(tmp_path: Path) -> None:
    """Two that differ only in the end, of 255 bytes in characters of two bytes."""
    names = [f"{'ä' * 125}{end}.png" for end in ("a", "b")]
    columns = write_files(of(*names), tmp_path / "found.csv")
    assert len({*columns["prediction"]}) == 2
    assert all((tmp_path / name).is_file() for name in columns["prediction"])
