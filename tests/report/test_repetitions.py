"""Mean and spread over runs that differ only in seed, split or fold."""

import csv
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from faked import phase_row
from frostline.report.leaderboard import write_leaderboard
from frostline.report.leaderboard_table import print_leaderboard
from frostline.report.trials import settings_of, trials_of
from frostline.runs.opening import MADE, NEEDED
from frostline.runs.record import Record


def write(folder: Path, *typed: str, score: float, status: str = "finished") -> None:
    folder.mkdir(parents=True)
    command = shlex.join(["frostline", "train", *typed])
    metrics: dict[str, Any] = {"val/accuracy": score, "test/accuracy": score / 2, "test/n": 10.0}
    metrics["test/loss"] = None if score > 0.8 else score  # as a loss that is not finite is stored
    record = Record(command=command, seed=0, monitor="val/accuracy", mode="max", status=status, metrics=metrics)
    record.phases = [phase_row(val={"val/accuracy": score})]
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
    complete = ("a", "2", "finished", "0.55")
    assert found == [complete, ("b", "2 of 3", "finished", "0.8"), ("b", "1", "failed", "0.1")]


def test_a_setting_of_which_no_run_is_missing_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "0", "model=a", "seed=0", score=0.9, status="failed")
    write(tmp_path / "1", "model=a", "seed=0", score=0.6)  # it ran again
    write(tmp_path / "2", "model=a", "seed=1", score=0.5)
    write(tmp_path / "3", "model=b", "seed=0", score=0.9)
    write(tmp_path / "4", "model=b", "seed=1", score=0.9, status="interrupted")  # which may go on
    rows = rows_of(write_leaderboard(tmp_path))
    assert [(row["model"], row["runs"]) for row in rows[:2]] == [("b", "1"), ("a", "2")]
    write(tmp_path / "5", "model=b", "seed=2", score=0.9, status="failed")
    rows = rows_of(write_leaderboard(tmp_path))
    assert [(row["model"], row["runs"]) for row in rows[:2]] == [("a", "2"), ("b", "1 of 2")]
    print_leaderboard(tmp_path / "leaderboard.csv")
    assert "incomplete   settings of which a run failed or was pruned come last" in capsys.readouterr().out


def test_a_pruned_repetition_is_missing_too(tmp_path: Path) -> None:
    write(tmp_path / "0", "model=a", "seed=0", score=0.9)
    write(tmp_path / "1", "model=a", "seed=1", score=0.9, status="pruned")
    (setting, _) = settings_of(trials_of(tmp_path), tmp_path)
    assert (len(setting.trials), setting.missing) == (1, 1)


def config(folder: Path, **settings: Any) -> None:
    parts = {name: {"_target_": name} for name in MADE}
    content = {**dict.fromkeys(NEEDED), **parts, "run_dir": str(folder), **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def test_one_setting_in_several_spellings_is_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`seed=0` is the default, and 1e-3 another spelling of 0.001, which is the default too."""
    for number, (typed, score) in enumerate(
        [(["optimizer.lr=0.001"], 0.5), (["optimizer.lr=1e-3", "seed=0"], 0.5), (["seed=1"], 0.75), (["seed=1"], 0.25)]
    ):
        write(tmp_path / str(number), *typed, score=score)
        config(tmp_path / str(number), seed=0 if number < 2 else 1, callbacks={"dir": f"{tmp_path}/{number}/it"})
    rows = rows_of(write_leaderboard(tmp_path))
    assert [(row["runs"], float(row["val/accuracy"])) for row in rows] == [("2", 0.625), ("1", 0.25)]
    print_leaderboard(tmp_path / "leaderboard.csv")
    assert "again        1: the same settings as another run in this row" in capsys.readouterr().out


def test_spellings_are_compared_without_a_config_too(tmp_path: Path) -> None:
    for number, rate in enumerate(["1e-3", "0.001", "1.0E-3"]):
        write(tmp_path / str(number), f"optimizer.lr={rate}", f"seed={number}", score=0.5)
    (row,) = rows_of(write_leaderboard(tmp_path))
    assert row["runs"] == "3"


def test_runs_that_differ_otherwise_have_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        write(tmp_path / str(number), f"optimizer.lr={rate}", score=rate)
    print_leaderboard(write_leaderboard(tmp_path))
    assert "±" not in capsys.readouterr().out
    assert not (tmp_path / "runs.csv").exists()
