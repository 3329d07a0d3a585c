"""The leaderboard of a sweep: what differs, what failed, which is best."""

import csv
import io
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from conftest import Answer
from faked import phase_row
from frostline.errors import ConfigError, WeightsError, in_short
from frostline.report.leaderboard import best_runs, write_leaderboard
from frostline.report.leaderboard_table import _drawn, cautions_of, print_leaderboard
from frostline.report.summary import program as program_name
from frostline.runs import predictions
from frostline.runs.predictions import file_of
from frostline.runs.record import Record
from frostline.runs.sweeps import JOBS, Note, Sweep


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
        command = f"frostline train --config-dir mine data=digits {typed[name]}"
        write(tmp_path / name, command=command, **end)
    return tmp_path


def write(folder: Path, *typed: str, **said: Any) -> None:
    """A run of `frostline train <typed>` whose weights are saved."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = {"best": "checkpoints/best.ckpt", "last": None}
    command = shlex.join(["frostline", "train", *typed])
    Record(**{"command": command, "seed": 0, "monitor": "val/accuracy", "checkpoints": saved, **said}).write(folder)


def lose(sweep: Path, number: int, *typed: str, error: BaseException) -> None:
    """A job that failed before it had a folder."""
    (sweep / JOBS).mkdir(exist_ok=True)
    said = in_short(str(error)) or type(error).__name__
    Sweep(sweep, [], "").write_note(number, Note(str(number), [*typed], said))


def finished(monitor: str = "val/accuracy", score: float = 0.5, **said: Any) -> dict[str, Any]:
    mode = "min" if monitor == "val/loss" else "max"
    phases = [phase_row(val={monitor: score}, solved=said.pop("solved", None))]
    return {
        "status": "finished",
        "monitor": monitor,
        "mode": mode,
        "metrics": {monitor: score},
        "phases": phases,
        **said,
    }


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
    lose(sweep, 2, "data=digits", "model=resnet18", error=error)
    board = write_leaderboard(sweep)
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


# --- what can be compared ---


def test_runs_of_different_monitors_are_ranked_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (monitor, score) in enumerate([("val/loss", 0.75), ("val/accuracy", 0.5), ("val/loss", 0.25)]):
        write(tmp_path / str(number), f"task.monitor={monitor}", **finished(monitor, score))
    write(tmp_path / "3", status="running")
    rows = rows_of(write_leaderboard(tmp_path))
    assert [(row["run"], row["ranked_by"]) for row in rows] == [
        ("2", "val/loss"),
        ("0", "val/loss"),
        ("1", "val/accuracy"),
        ("3", ""),
    ]
    print_leaderboard(tmp_path / "leaderboard.csv")
    printed = capsys.readouterr().out
    assert "cannot be compared" in printed
    headings = [printed.index(f"\n{name}\n") for name in ("ranked by val/loss", "ranked by val/accuracy", "not ranked")]
    assert headings == sorted(headings)
    losses, accuracies, rest = (printed[at:] for at in headings)
    assert "val/accuracy  " not in losses.partition("ranked by val/accuracy")[0], "no column without a score"
    assert " 0.5 " in accuracies.partition("not ranked")[0]
    assert "running" in rest.partition("separate")[0]
    assert f"evaluate run={tmp_path / '2'}   # the best val/loss\n" in printed
    assert f"evaluate run={tmp_path / '1'}   # the best val/accuracy\n" in printed


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        ([("digits", "1"), ("digits", "1")], None),
        ([("train", "1"), ("trec6", "1")], None),
        ([("cifar10", "1"), ("digits", "2")], ["val/accuracy of cifar10", "val/accuracy of digits"]),
        ([("a", "111"), ("a", "222")], ["val/accuracy of a (111)", "val/accuracy of a (222)"]),
    ],
)
def test_runs_of_different_data_are_ranked_apart(
    data: list[tuple[str, str]], labels: list[str] | None, tmp_path: Path
) -> None:
    for number, (name, fingerprint) in enumerate(data):
        said = {"name": name, "fingerprint": fingerprint, "classes": []}
        write(tmp_path / str(number), f"data={name}", **finished(score=0.5 + number / 4, data=said))
    rows = rows_of(write_leaderboard(tmp_path))
    if labels is None:
        assert "ranked_by" not in rows[0]
        assert [row["run"] for row in rows] == ["1", "0"]
    else:
        assert [row["ranked_by"] for row in rows] == labels


def test_a_run_that_did_not_finish_comes_last_whatever_it_scored(tmp_path: Path) -> None:
    write(tmp_path / "0", **finished(score=0.5))
    write(tmp_path / "1", **{**finished(score=0.75), "status": "interrupted"})
    assert [row["run"] for row in rows_of(write_leaderboard(tmp_path))] == ["0", "1"]


@pytest.mark.parametrize("seed", range(4))
def test_of_equal_settings_the_first_row_is_the_best(seed: int, tmp_path: Path) -> None:
    names = [str(number) for number in range(12)]
    for name in np.random.default_rng(seed).permutation(names):
        write(tmp_path / name, f"optimizer.lr=0.{name}5", **finished())
    assert [row["run"] for row in rows_of(write_leaderboard(tmp_path))] == names
    assert best_runs(tmp_path) == [(tmp_path / "0", tmp_path / "0")]


def test_runs_below_the_first_level_are_runs(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0", **finished(score=0.5))
    write(tmp_path / "b", **finished(score=0.75))
    assert [row["run"] for row in rows_of(write_leaderboard(tmp_path))] == ["b", "a/0"]


def test_rates_that_differ_are_shown_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A search draws rates below 0.001, which four decimals cannot tell apart."""
    rates = ["0.00016297508346206434", "0.00021316722834921787"]
    for name, rate in zip("ab", rates, strict=True):
        write(tmp_path / name, f"optimizer.lr={rate}", **finished())
    board = write_leaderboard(tmp_path)
    print_leaderboard(board)
    table = capsys.readouterr().out.partition("leaderboard")[0]
    assert [row["optimizer.lr"] for row in rows_of(board)] == rates
    assert all(short in table for short in ("0.000163 ", "0.0002132 "))
    assert not any(rate in table for rate in rates)


# --- which settings mattered ---


def write_grid(folder: Path) -> None:
    """Three rates and four dropouts. The variances are 6e-4 of the means by rate, 5e-4 of those by dropout, and 6e-4 of
    what both do together."""
    for rate, up in (("0.1", -1), ("0.01", 0), ("0.001", 1)):
        for turn, dropout in enumerate(("0.1", "0.2", "0.3", "0.4")):
            score = 0.5 + 0.03 * up + 0.01 * (2 * turn - 3) + 0.03 * up * (-1) ** turn
            typed = (f"optimizer.lr={rate}", f"head.dropout={dropout}")
            write(folder / f"{rate}-{dropout}", "data=digits", *typed, **finished(score=score))


def importances_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_leaderboard(write_leaderboard(folder))
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("importance")]


def test_a_grid_tells_which_settings_mattered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_grid(tmp_path)
    told = "(share of the variance of the scores that each explains alone)"
    assert importances_of(tmp_path, capsys) == [f"importance   optimizer.lr 0.22, head.dropout 0.11 {told}"]


@pytest.mark.parametrize("case", ["one more", "one failed", "a rate failed", "one twice", "nine", "equal scores"])
def test_nothing_is_told_of_what_is_no_whole_grid(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_grid(tmp_path)
    if case == "one more":
        write(tmp_path / "more", "data=digits", "optimizer.lr=0.5", "head.dropout=0.1", **finished())
    elif case == "one failed":
        write(tmp_path / "0.1-0.1", "data=digits", "optimizer.lr=0.1", "head.dropout=0.1", status="failed")
    elif case == "a rate failed":
        for turn in "1234":
            write(tmp_path / turn, "data=digits", "optimizer.lr=10", f"head.dropout=0.{turn}", status="failed")
    elif case == "one twice":
        write(tmp_path / "twice", "data=digits", "optimizer.lr=0.1", "head.dropout=0.1", **finished(score=0.9))
    elif case == "nine":
        for rate in ("0.1", "0.01", "0.001"):
            shutil.rmtree(tmp_path / f"{rate}-0.4")
    else:
        for run in [path for path in tmp_path.iterdir() if path.is_dir()]:
            write(run, *shlex.split(Record.read(run).command)[2:], **finished())
    assert importances_of(tmp_path, capsys) == []


# --- what had no effect ---


def test_settings_without_effect_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solved = {"l2": 0.1, "score": 0.5, "seconds": 1.0}
    for number, (seed, lr) in enumerate([(0, 0.1), (0, 0.01), (1, 0.1), (1, 0.01)]):
        typed = f"seed={seed}", f"optimizer.lr={lr}"
        write(tmp_path / str(number), *typed, **finished(score=0.5 + seed / 4, solved=solved))
    print_leaderboard(write_leaderboard(tmp_path))
    said = (
        "equal        runs 0 = 1, 2 = 3: optimizer.lr made no difference to any score; a solved head uses no optimizer"
    )
    assert said in capsys.readouterr().out


def test_of_heads_that_step_no_reason_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1):
        write(tmp_path / str(number), f"optimizer.lr={number}", **finished())
    print_leaderboard(write_leaderboard(tmp_path))
    assert "optimizer.lr made no difference to any score\n" in capsys.readouterr().out


def test_the_best_of_equal_runs_is_the_only_one_with_a_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, test in enumerate([{"test/accuracy": 0.5}, {}, {}, {"test/accuracy": 0.25}]):
        run = finished()
        write(tmp_path / str(number), f"optimizer.lr={number}", **{**run, "metrics": run["metrics"] | test})
    print_leaderboard(write_leaderboard(tmp_path))
    assert "equal        runs 1 = 2: optimizer.lr made no difference" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "3")
    print_leaderboard(write_leaderboard(tmp_path))
    assert "equal        runs 0 = 1 = 2: optimizer.lr made no difference" in capsys.readouterr().out


def test_the_same_settings_with_other_scores_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, score in enumerate([0.5, 0.5, 0.75]):
        write(tmp_path / str(number), "optimizer.lr=0.1", **finished(score=score))
    print_leaderboard(write_leaderboard(tmp_path))
    said = capsys.readouterr().out
    assert "again        1: the same settings as another run in this row, counted once" in said
    assert "unlike       2: the same settings and seed as 0, but other scores" in said


def test_equal_scores_of_unequal_epochs_are_no_equal_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1):
        phases = [phase_row(val={"val/loss": float(number)})]
        write(tmp_path / str(number), f"optimizer.lr={number}", **{**finished(), "phases": phases})
    print_leaderboard(write_leaderboard(tmp_path))
    assert "no difference" not in capsys.readouterr().out


# --- what it says ---


def test_the_first_of_several_faults_is_told(tmp_path: Path) -> None:
    faults = ConfigError(
        "the configuration has 2 wrong values:\n  seed: it is -1\n  a.b: there is no a", next_step="one"
    )
    write(tmp_path / "0", status="failed", error={"type": "ConfigError", "message": str(faults)})
    lose(tmp_path, 1, error=faults)
    lose(tmp_path, 2, error=MemoryError())
    rows = rows_of(write_leaderboard(tmp_path))
    short = "the configuration has 2 wrong values: seed: it is -1"
    assert [row["error"] for row in rows] == [short, short, "MemoryError"]


@pytest.mark.parametrize("name", ["a b", "it's", "a,b", "ä(1)"])
def test_the_next_line_can_be_pasted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.report.leaderboard_table.program", lambda: "'my env/bin/frostline'")
    write(tmp_path / name / "0", **finished())
    print_leaderboard(write_leaderboard(tmp_path / name))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("next"))
    _, program, command, setting = shlex.split(line)
    assert (program, command) == ("my env/bin/frostline", "evaluate")
    assert OverridesParser.create().parse_override(setting).value() == str(tmp_path / name / "0")


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ({"foreign": ["it"]}, ["trust=true"]),
        ({"checkpoints": {"best": None, "last": "checkpoints/last.ckpt"}}, ["checkpoint=last"]),
        ({"checkpoints": {"best": None, "last": None}}, None),
    ],
)
def test_the_next_line_fits_the_run(
    said: dict[str, Any], settings: list[str] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "0", **finished(**said))
    print_leaderboard(write_leaderboard(tmp_path))
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("next")]
    assert [line[4:] for line in lines] == ([] if settings is None else [settings])


# --- any folder ---


def test_any_folder_of_runs_has_a_leaderboard(
    tmp_path: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, score in enumerate([0.5, 0.75]):
        write(tmp_path / "runs" / f"day {number}", f"head.dropout=0.{number}", "run_dir=it", **finished(score=score))
    answer = program("leaderboard", "runs")
    assert answer.code == 0, answer.err
    assert "leaderboard  runs/leaderboard.csv\n" in answer.out
    assert f"best         {program_name()} train head.dropout=0.1 run_dir=it\n" in answer.out
    assert [row["run"] for row in rows_of(tmp_path / "runs" / "leaderboard.csv")] == ["day 1", "day 0"]
    assert program("leaderboard", "folder=runs").out == answer.out
    (tmp_path / "empty").mkdir()
    assert "there are no runs below this folder" in program("leaderboard", "empty").err
    assert "there is no such folder" in program("leaderboard", "none").err


def test_scores_on_the_same_samples_have_intervals_and_a_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = np.arange(90) % 3
    for number, wrong in enumerate([60, 3, 2]):
        logits = np.eye(3, dtype=np.float32)[(target + (np.arange(90) < wrong)) % 3]
        score = 1 - wrong / 90
        folder = tmp_path / str(number)
        write(folder, f"head.dropout=0.{number}", **finished(score=score, predictions={"val": file_of("val")}))
        columns = {"sample": [f"s{at}" for at in range(90)], "index": np.arange(90)}
        about = {"scores": {"val/accuracy": score}}
        predictions.write(folder, "val", columns | {"target": target, "logits": logits}, about)
    rows = rows_of(write_leaderboard(tmp_path))
    assert [(row["run"], row["as_good"]) for row in rows] == [("2", "best"), ("1", "yes"), ("0", "no")]
    assert all(float(row["low"]) < float(row["val/accuracy"]) < float(row["high"]) for row in rows)
    assert [*rows[0]][2:7] == ["head.dropout", "val/accuracy", "low", "high", "as_good"]
    print_leaderboard(tmp_path / "leaderboard.csv")
    said = capsys.readouterr().out
    assert "val/accuracy     95 % interval   as good   seconds" in said
    assert "interval     95 % interval of the validation score" in said
    (tmp_path / "1" / file_of("val")).write_bytes(b"PAR1")
    rows = rows_of(write_leaderboard(tmp_path))
    assert [bool(row["low"]) for row in rows] == [True, False, True], "only what cannot be read has no interval"
    assert [row["as_good"] for row in rows] == ["best", "", "no"]
    print_leaderboard(tmp_path / "leaderboard.csv")
    assert "finished     1: no interval: the predictions cannot be read" in capsys.readouterr().out
    for number in "01":
        shutil.rmtree(tmp_path / number)
    (row,) = rows_of(write_leaderboard(tmp_path))
    assert (bool(row["low"]), row["as_good"]) == (True, ""), "one alone is not the best of any"


def test_a_caution_names_the_score_that_ranks_its_own_row() -> None:
    rows = [
        {"ranked_by": name, "val/accuracy": "", "val/r2": "", "caution": "few"} for name in ("val/accuracy", "val/r2")
    ]
    assert [*cautions_of(rows, [])] == [f"do not trust the interval of {row['ranked_by']}: few" for row in rows]
    assert [*cautions_of([{"val/r2": "0.5", "caution": "few"}], [])] == ["do not trust the interval of val/r2: few"]


def test_test_scores_have_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A single run has those of its run.json, and the mean over seeds has one of its own."""
    target = np.arange(90) % 3
    intervals = {"test/accuracy": {"low": 0.25, "high": 0.75, "by": "wilson", "caution": "only 9 samples"}}
    metrics = {"val/accuracy": 0.5, "test/accuracy": 0.5, "test/n": 90.0}
    write(tmp_path / "0", "model=a", **finished() | {"metrics": metrics, "intervals": intervals})
    write(tmp_path / "1", "model=b", **finished())
    print_leaderboard(write_leaderboard(tmp_path))
    said = capsys.readouterr().out
    assert "0.5 (0.25 … 0.75)" in said
    assert "caution      do not trust the interval of test/accuracy: only 9 samples\n" in said
    first, second = rows_of(tmp_path / "leaderboard.csv")
    assert (first["test/accuracy low"], first["test/accuracy high"]) == ("0.25", "0.75")
    assert second["test/accuracy low"] == ""
    for number, wrong in enumerate([9, 12]):
        folder, score = tmp_path / f"c{number}", 1 - wrong / 90
        logits = np.eye(3, dtype=np.float32)[(target + (np.arange(90) < wrong)) % 3]
        own = {"val/accuracy": 0.8, "test/accuracy": score}
        stored = {"test": file_of("test")}
        write(folder, "model=c", f"seed={number}", **finished() | {"metrics": own, "predictions": stored})
        columns = {"sample": [f"s{at}" for at in range(90)], "index": np.arange(90), "target": target, "logits": logits}
        predictions.write(folder, "test", columns, {"scores": {"test/accuracy": score}})
    best = rows_of(write_leaderboard(tmp_path))[0]
    low, mean, high = (float(best[f"test/accuracy{end}"]) for end in (" low", "", " high"))
    assert low < mean < high
    assert (low, high) == (
        pytest.approx(mean - 1.96 * (mean * (1 - mean) / 90) ** 0.5, abs=0.02),
        pytest.approx(0.95, abs=0.02),
    )
    assert rows_of(write_leaderboard(tmp_path, compare=False))[0].get("test/accuracy low") == ""
    (folder / file_of("test")).unlink()
    assert rows_of(write_leaderboard(tmp_path))[0]["test/accuracy low"] == "", "the others keep theirs"


def test_a_run_whose_record_is_damaged_is_told_and_stops_nothing(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep / "0" / "run.json").write_text("{")
    rows = rows_of(write_leaderboard(sweep))
    assert [(row["run"], row["status"]) for row in rows] == [("10", "finished"), ("0", "unreadable"), ("1", "failed")]
    assert [row["optimizer.lr"] for row in rows] == ["0.1", "", "9.0"]
    print_leaderboard(sweep / "leaderboard.csv")
    assert "unreadable   0: run.json cannot be read" in capsys.readouterr().out


def test_a_setting_with_an_unreadable_run_comes_after_those_of_which_all_finished(tmp_path: Path) -> None:
    (tmp_path / JOBS).mkdir()
    for number, (rate, seed) in enumerate([(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]):
        typed = [f"optimizer.lr={rate}", f"seed={seed}"]
        write(tmp_path / str(number), *typed, **finished(score=0.9 - rate + seed / 100))
        Sweep(tmp_path, [], "").write_note(number, Note(str(number), typed))
    (tmp_path / "1" / "run.json").write_text("{")
    rows = rows_of(write_leaderboard(tmp_path))
    assert [(row["optimizer.lr"], row["runs"]) for row in rows] == [("0.2", "2"), ("0.1", "1 of 2"), ("0.1", "1")]
    assert rows[2]["status"] == "unreadable"


def test_one_run_has_no_leaderboard(sweep: Path, program: Callable[..., Answer]) -> None:
    answer = program("leaderboard", str(sweep / "0"))
    assert answer.code == 1
    assert "this folder is one run" in answer.err
    assert f"frostline report run={sweep / '0'}\n" in answer.err
    assert not (sweep / "0" / "leaderboard.csv").exists()


def test_no_score_is_cut_off_in_a_narrow_terminal() -> None:
    """The settings stand below one another instead."""
    values = {"model": "efficientnet_lite0", "data.augment": "strong", "head": ""}
    rows = [
        {"run": f"2026-11-29/{number}", "status": "finished", **values, "val/accuracy": "0.861234567", "seconds": "3"}
        for number in "ab"
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(_drawn(rows, 80))
    narrow = console.file.getvalue()  # type: ignore[attr-defined]
    assert "model=efficientnet_lite0" in narrow
    assert "settings" in narrow
    assert "head=" not in narrow  # of which these runs say nothing
    console = Console(width=200, file=io.StringIO())
    console.print(_drawn(rows, 200))
    wide = console.file.getvalue()  # type: ignore[attr-defined]
    assert "settings" not in wide
    assert narrow.count("0.8612") == wide.count("0.8612") == 2
    assert "…" not in narrow + wide


@pytest.mark.parametrize(("width", "others"), [(100, {"seconds", "as good"}), (80, {"as good"}), (60, set())])
@pytest.mark.parametrize("setting", [{"model": "m" * 70}, {"model": "m" * 70, "data": "table"}])
def test_long_settings_give_way_to_scores(width: int, others: set[str], setting: dict[str, str]) -> None:
    """The settings break, then the dispensable columns go; names of runs, scores and intervals stay whole."""
    names = [f"2026-11-30/18-25-3{number}-bundled-digits" for number in range(2)]
    scores = {"val/accuracy": "0.832214765", "low": "0.7624", "high": "0.8845", "as_good": "best", "seconds": "6.7"}
    tests = {"test/accuracy": "0.8663", "test/accuracy low": "0.8272", "test/accuracy high": "0.8976"}
    rows = [{"run": name, "status": "finished", **setting, **scores, **tests} for name in names]
    console = Console(width=width, file=io.StringIO(), soft_wrap=True)  # as `console_of_width` makes it
    console.print(_drawn(rows, width))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, drawn.splitlines())) <= width
    for whole in (*names, "0.8322", "0.8663", "(0.8272 …", "0.8976)"):
        assert drawn.count(whole) == (1 if whole in names else 2)
    assert drawn.count("m") == 2 * len("m" + "m" * 70)  # all of each setting
    assert {column for column in ("seconds", "as good") if column.split()[0] in drawn.split()} == others


def test_a_table_too_wide_for_the_terminal_is_not_cut() -> None:
    scores = {"val/accuracy": "0.832214765", "test/accuracy": "0.866295265"}
    rows = [{"run": "2026-11-30/18-25-37-bundled-digits", "status": "finished", "model": "minilm", **scores}]
    console = Console(width=40, file=io.StringIO(), soft_wrap=True)
    console.print(_drawn(rows, 40))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in drawn
    for whole in (rows[0]["run"], "model=minilm", "0.8322", "0.8663"):
        assert whole in drawn


def test_a_path_that_was_typed_relative_does_not_differ(tmp_path: Path) -> None:
    """run.json has it absolute, and the note of a job that failed before it had a run as it was typed."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "t.csv").write_text("")
    folder = tmp_path / "S"
    write(folder / "0", f"data.file={tmp_path}/here/t.csv", "optimizer.lr=0.1", **finished())
    made = Sweep(folder, ["data.file=t.csv", "optimizer.lr=0.1,0.0"], str(tmp_path / "here"))
    assert made.create()
    lose(folder, 1, "data.file=t.csv", "optimizer.lr=0.0", error=ConfigError("no rate", next_step="another"))
    rows = rows_of(write_leaderboard(folder))
    assert [row["optimizer.lr"] for row in rows] == ["0.1", "0.0"]
    assert "data.file" not in rows[0]
