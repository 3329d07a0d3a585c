"""Mean and spread over runs that differ only in seed, split or fold."""

import csv
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.report.leaderboard import print_leaderboard, write_leaderboard
from frostline.runs.record import Record


def write(folder: Path, *typed: str, score: float, status: str = "finished") -> None:
    folder.mkdir(parents=True)
    command = shlex.join(["frostline", "train", *typed])
    metrics: dict[str, Any] = {"val/accuracy": score, "test/accuracy": score / 2, "test/n": 10.0}
    metrics["test/loss"] = None if score > 0.8 else score  # as a loss that is not finite is stored
    record = Record(command=command, seed=0, monitor="val/accuracy", mode="max", status=status, metrics=metrics)
    record.phases = [{"name": "head", "val": {"val/accuracy": score}}]
    record.write(folder)


def rows_of(board: Path) -> list[dict[str, str]]:
    with board.open() as file:
        return list(csv.DictReader(file))


def test_folds_have_a_mean_and_a_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = [0.5, 0.75, 0.875]
    for fold, score in enumerate(scores):
        write(tmp_path / str(fold), f"data.fold={fold}", "data.folds=3", score=score)
    print_leaderboard(write_leaderboard(tmp_path))
    said = f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}"
    assert said in capsys.readouterr().out
    (row,) = rows_of(tmp_path / "leaderboard.csv")
    assert float(row["val/accuracy"]) == pytest.approx(np.mean(scores))
    assert float(row["test/accuracy deviation"]) == pytest.approx(np.std(scores, ddof=1) / 2)
    assert (row["runs"], row["run"]) == ("3", "2"), "its best run"
    assert row["test/loss"] == ""
    assert not [name for name in row if name.startswith(("test/n", "data.fold"))]
    assert [row["data.fold"] for row in rows_of(tmp_path / "runs.csv")] == ["2", "1", "0"]


def test_seeds_are_repetitions_of_each_setting(tmp_path: Path) -> None:
    for number, (model, seed, score) in enumerate([("a", 0, 0.5), ("b", 0, 0.9), ("a", 1, 0.6), ("b", 1, 0.7)]):
        write(tmp_path / str(number), f"model={model}", f"seed={seed}", score=score)
    write(tmp_path / "4", "model=b", "seed=2", score=0.1, status="failed")
    rows = rows_of(write_leaderboard(tmp_path))
    found = [(row["model"], row["runs"], row["status"], row["val/accuracy"][:4]) for row in rows]
    assert found == [("b", "2", "finished", "0.8"), ("a", "2", "finished", "0.55"), ("b", "1", "failed", "0.1")]


def test_runs_that_differ_otherwise_have_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        write(tmp_path / str(number), f"optimizer.lr={rate}", score=rate)
    print_leaderboard(write_leaderboard(tmp_path))
    assert "±" not in capsys.readouterr().out
    assert not (tmp_path / "runs.csv").exists()
