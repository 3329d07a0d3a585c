"""A sweep chooses by validation, and scores the test split once, with the best setting."""

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import faked
from conftest import SMALL, Answer
from frostline.commands.test_later import test_later as score_later
from frostline.commands.train import NOT_HERE
from frostline.errors import RunError
from frostline.runs.folder import opened
from frostline.runs.predictions import read
from frostline.runs.record import Record

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]
SWEEP = ["train", "-m", *SMALL, "schedule=head_only", "logger=none", "data.batch_size=8,16"]
SWEEP += ["schedule.every_phase.solve=false", "schedule.phases.head.epochs=1"]


def scores_of_tests(folder: Path) -> dict[str, dict[str, Any]]:
    """The test scores of each run."""
    records = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    return {
        name: {score: value for score, value in record["metrics"].items() if score.startswith("test/")}
        for name, record in sorted(records.items())
    }


def test_the_best_setting_is_tested_and_gets_the_scores_that_each_run_would_have(
    program: Program, tmp_path: Path
) -> None:
    for kind in ("all", "best"):
        answer = program(*SWEEP, f"sweep.test={kind}", f"hydra.sweep.dir={kind}")
        assert answer.code == 0, answer.err
    late = answer.out.partition("test of the best setting")[2]
    assert "\n95 %  test/" in late
    assert re.search(r"\d+ runs were scored on this test split", late), "as after a training; tests before count, too"
    every, best = (scores_of_tests(tmp_path / kind) for kind in ("all", "best"))
    assert all(len(scores) > 3 for scores in every.values())
    with (tmp_path / "best" / "leaderboard.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["test/accuracy"] != ""
    assert second["test/accuracy"] == ""
    assert [name for name, scores in best.items() if scores] == [first["run"]]
    name = first["run"]
    assert best[name] == every[name]
    (again,) = re.findall(r"^best +frostline (train .*)$", answer.out, re.MULTILINE)
    assert program(*shlex.split(again), "run_dir=again").code == 0
    scores = [[row["val"] for row in Record.read(tmp_path / run).phases] for run in (f"best/{name}", "again")]
    assert scores[0] == scores[1], "the command as it is printed"
    for split in ("val", "test"):
        ours, theirs = (read(tmp_path / kind / name, split).columns["logits"] for kind in ("best", "all"))
        assert (ours == theirs).all()
    assert not (tmp_path / "best" / second["run"] / "predictions" / "test.parquet").exists()
    answer = program("train", "sweep.resume=best")
    assert answer.code == 0, answer.err
    assert "test of the best" not in answer.out
    assert scores_of_tests(tmp_path / "best") == best


@pytest.mark.usefixtures("untrained")
def test_each_run_of_the_best_setting_is_tested_once_and_none_if_none_is_wanted(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested, looks = [], []

    def score(folder: Path, record: Record, settings: object, *, looks_in: Path | None) -> None:
        tested.append(folder.name)
        looks.append(None if looks_in is None else looks_in.name)
        record.metrics["test/accuracy"] = 0.5
        record.write(folder)

    monkeypatch.setattr("frostline.commands.test_later.test_later", score)
    sweep = ["train", "-m", *faked.SMALL, "optimizer.lr=0.1,0.01", "sweep.seeds=2"]
    assert program(*sweep, "hydra.sweep.dir=none").code == 0
    assert tested == []
    assert program(*sweep, "sweep.test=best", "hydra.sweep.dir=best").code == 0
    assert sorted(tested) == ["2", "3"]
    assert looks == [None, tested[0]], "one page of a setting explains the answers"
    assert program("train", "sweep.resume=best").code == 0
    assert len(tested) == 2


def test_a_run_without_weights_is_not_tested(small_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(RunError, match="the best run saved no weights"):
        score_later(run, *opened(run, trains=False, trust=False, again=""), looks_in=None)


def test_a_page_says_which_other_one_explains_the_answers(small_run: Path, tmp_path: Path, program: Program) -> None:
    run, page = shutil.copytree(small_run, tmp_path / "run"), tmp_path / "run" / "report.html"
    score_later(run, *opened(run, trains=False, trust=False, again=""), looks_in=tmp_path / "7")
    text = page.read_text()
    assert "No explanations of the answers: they are on the page of run 7, with another seed" in text
    (command,) = re.findall(r"frostline (report saliency=true \S+) makes them here, too", text)
    assert program(*command.split()).code == 0
    assert "No explanations of the answers" not in page.read_text()


@pytest.mark.parametrize("monitor", ["test/accuracy", "val/loss,test/accuracy"])
def test_a_sweep_cannot_choose_by_a_test_score(monitor: str, program: Program, tmp_path: Path) -> None:
    answer = program(*SWEEP, f"task.monitor={monitor}")
    assert answer.code == 1
    assert "a sweep cannot choose by a test score" in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "typed",
    [
        ["seed=0,1", "task=mine"],
        ["task=classification,mine"],
        ["sweep=random", "task=mine", "optimizer.lr=interval(0.1,1)"],
        ["sweep=plans", "task=mine"],
    ],
    ids=" ".join,
)
def test_nor_by_one_that_a_yaml_file_names(typed: list[str], program: Program, tmp_path: Path) -> None:
    task = "defaults: [classification, _self_]\nmonitor: test/accuracy\n"
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "mine.yaml").write_text(task)
    answer = program("train", "-m", "--config-dir", "conf", *SMALL, *typed)
    assert answer.code == 1
    assert "a sweep cannot choose by a test score" in answer.err
    assert "where: task.monitor=test/accuracy" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_a_run_may_leave_the_test_out(program: Program, tmp_path: Path) -> None:
    answer = program("train", *SMALL, "schedule=head_only", "logger=none", "test=false", "run_dir=run")
    assert answer.code == 0, answer.err
    assert scores_of_tests(tmp_path) == {"run": {}}
    assert "\ntest  " not in answer.out
    assert not (tmp_path / "run" / "predictions" / "test.parquet").exists()
    assert "test/accuracy" in program("evaluate", "run=run").out
