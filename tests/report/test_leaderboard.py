"""The leaderboard of a sweep: what differs, what failed, which is best."""

import csv
from pathlib import Path
from typing import Any

import pytest

from frostline.errors import WeightsError
from frostline.record import Record
from frostline.report.leaderboard import print_leaderboard, write_leaderboard


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three runs: a good one, a better one, and one that failed on its way."""
    ends: dict[str, dict[str, Any]] = {
        "0": {"status": "finished", "metrics": {"val/accuracy": 0.5, "test/accuracy": 0.25}},
        "1": {"status": "failed", "error": {"type": "RunError", "message": "the loss is nan\n  next: a smaller one"}},
        "10": {"status": "finished", "metrics": {"val/accuracy": 0.75, "test/accuracy": 0.5}},
    }
    typed = {"0": "optimizer.lr=0.1", "1": "optimizer.lr=9.0", "10": "optimizer.lr=0.1 +head.dropout=0.5"}
    for name, end in ends.items():
        (tmp_path / name).mkdir()
        command = f"frostline train --config-dir mine data=digits {typed[name]}"
        Record(command=command, seed=0, monitor="val/accuracy", **end).write(tmp_path / name)
    return tmp_path


def rows_of(board: Path) -> list[dict[str, str]]:
    with board.open() as file:
        return list(csv.DictReader(file))


def test_settings_that_differ_have_columns_and_the_others_have_none(sweep: Path) -> None:
    rows = rows_of(write_leaderboard(sweep))
    columns = ["run", "status", "optimizer.lr", "head.dropout", "val/accuracy", "test/accuracy"]
    assert [*rows[0]] == [*columns, "seconds", "error", "command"]
    assert [[row[name] for name in columns] for row in rows] == [
        ["10", "finished", "0.1", "0.5", "0.75", "0.5"],
        ["0", "finished", "0.1", "", "0.5", "0.25"],
        ["1", "failed", "9.0", "", "", ""],
    ]


def test_what_failed_is_listed_with_its_error_also_without_a_folder(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = WeightsError("the weights cannot be read", where="it.pth", next_step="others")
    board = write_leaderboard(sweep, [("2", ["data=digits", "model=resnet18"], error)])
    rows = rows_of(board)
    assert [(row["run"], row["status"], row["model"]) for row in rows[2:]] == [
        ("1", "failed", ""),
        ("2", "failed", "resnet18"),
    ]
    assert [row["error"] for row in rows] == ["", "", "the loss is nan", str(error).splitlines()[0]]
    print_leaderboard(board)
    printed = capsys.readouterr().out
    assert "failed       1: the loss is nan\n" in printed
    assert "failed       2: the weights cannot be read" in printed


def test_the_best_is_what_to_score_next(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_leaderboard(write_leaderboard(sweep))
    assert f" evaluate run={sweep / '10'}\n" in capsys.readouterr().out


def test_where_none_is_finished_there_is_nothing_to_score(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("0", "10"):
        (sweep / name / "run.json").unlink()
    print_leaderboard(write_leaderboard(sweep))
    assert "evaluate" not in capsys.readouterr().out
