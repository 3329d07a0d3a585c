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


def test_folds_have_a_mean_and_a_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = [0.5, 0.75, 0.875]
    for fold, score in enumerate(scores):
        write(tmp_path / str(fold), f"data.fold={fold}", "data.folds=3", score=score)
    print_leaderboard(write_leaderboard(tmp_path))
    said = f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}"
    assert f"val/accuracy {said}" in capsys.readouterr().out
    with (tmp_path / "means.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["val/accuracy mean"]) == pytest.approx(np.mean(scores))
    assert float(row["test/accuracy deviation"]) == pytest.approx(np.std(scores, ddof=1) / 2)
    assert row["runs"] == "3"
    assert "test/loss mean" not in row
    assert not [name for name in row if name.startswith("test/n")]


def test_seeds_are_repetitions_of_each_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (model, seed, score) in enumerate([("a", 0, 0.5), ("b", 0, 0.9), ("a", 1, 0.6), ("b", 1, 0.7)]):
        write(tmp_path / str(number), f"model={model}", f"seed={seed}", score=score)
    write(tmp_path / "4", "model=b", "seed=2", score=0.1, status="failed")
    print_leaderboard(write_leaderboard(tmp_path))
    out = capsys.readouterr().out
    assert out.index("model=b: val/accuracy 0.8000") < out.index("model=a: val/accuracy 0.5500"), "the best first"
    assert "(2 runs over seed)" in out


def test_runs_that_differ_otherwise_have_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        write(tmp_path / str(number), f"optimizer.lr={rate}", score=rate)
    print_leaderboard(write_leaderboard(tmp_path))
    assert "±" not in capsys.readouterr().out
    assert not (tmp_path / "means.csv").exists()
