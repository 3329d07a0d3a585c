"""Whole runs in this process on the digits as PNGs and a table: what is learned, told, scored again and predicted."""

import csv
import io
import json
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from sklearn.metrics import average_precision_score, r2_score

from conftest import ASIDE, DEVICE, Answer, short_form
from frostline.cli.main import main
from frostline.runs.predictions import read

Program = Callable[..., Answer]

# Float32, 600 digits of 8 pixels: 432 of training, 48 of validation, 120 of test.
SHORT = ["data=image_csv", "data.batch_size=40", "data.image_size=8", "data.flip=false", *DEVICE]
SHORT += ["trainer.precision=32-true", "logger=none", "optimizer.lr=0.004", "callbacks.progress=null"]
SHORT += ["schedule.phases.head.epochs=2", "schedule.every_phase.solve=false", "schedule.phases.all.epochs=3"]
# What does not ask how much was learned, and compares runs; with the bundled network where its weights are the point.
TINY = ["data.train_limit=100", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1", "data.image_size=8"]
CHAIN = ["model._target_=tiny.Chain"]
LABELS = ["even", "prime", "above_4"]
TASKS = {
    "classification": "data.target_columns=[digit]",
    "multi_label": f"data.target_columns=[{','.join(LABELS)}]",
    "regression": "data.target_columns=[value,tens]",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, a picture and a line each: the digit in words, three properties of it, and its value in two units."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder = tmp_path_factory.mktemp("digits")
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    lines = [f"path,digit,{','.join(LABELS)},value,tens,properties"]
    for number, (grey, digit) in enumerate(zip(digits.images[:600], digits.target[:600].tolist(), strict=True)):
        Image.fromarray(np.rint(grey * (255 / 16)).astype(np.uint8)).save(folder / f"{number}.png")
        holds = [digit % 2 == 0, digit in (2, 3, 5, 7), digit > 4]
        names = "|".join(name for name, held in zip(LABELS, holds, strict=True) if held)
        marks = ",".join(str(int(held)) for held in holds)
        lines.append(f"{number}.png,{words[digit]},{marks},{digit},{1000 + 10 * digit},{names}")
    (folder / "digits.csv").write_text("\n".join(lines) + "\n")
    return folder / "digits.csv"


@pytest.fixture(scope="module")
def finished(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`finished("regression")`: the folder of a run of SHORT, which no test changes."""

    @cache
    def run(task: str) -> Path:
        folder = tmp_path_factory.mktemp(task) / "run"
        with pytest.MonkeyPatch.context() as patch:
            slices = ["data.group_columns=[prime]"] if task == "classification" else []
            patch.setattr(sys, "argv", ["frostline", *command_of(table, task, folder), *slices])
            main()
        GlobalHydra.instance().clear()
        return folder

    return run


def command_of(table: Path, task: str, folder: Path | str) -> list[str]:
    return ["train", *SHORT, f"task={task}", f"data.file={table}", TASKS[task], f"run_dir={folder}"]


def record_of(folder: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "run.json").read_text())
    return content


def trained(program: Program, table: Path, task: str, folder: str, *overrides: str, code: int = 0) -> dict[str, Any]:
    model = [] if any(setting.startswith("init_from=") for setting in overrides) else CHAIN
    answer = program(*command_of(table, task, folder), *ASIDE, *TINY, *model, *overrides)
    assert answer.code == code, answer.out + answer.err
    return record_of(folder)


def weights(folder: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


def require_equal(run: str, other: str) -> None:
    now, expected = record_of(run), record_of(other)
    assert now["metrics"] == expected["metrics"]
    assert now["per_class"] == expected["per_class"]
    mine, its = weights(run), weights(other)
    assert mine.keys() == its.keys()
    assert [name for name in mine if not torch.equal(mine[name], its[name])] == []


def predicted(program: Program, table: Path, folder: Path) -> list[dict[str, str]]:
    answer = program("predict", f"run={folder}", f"input={table.parent}", "output=out.csv")
    assert answer.code == 0, answer.err
    with Path("out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def truths(table: Path) -> dict[str, dict[str, str]]:
    """Lines of the table by the name of the picture."""
    with table.open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_scores_of_the_values_of_a_column_are_those_of_their_samples(program: Program, table: Path) -> None:
    """In run.json and on the page, from the column that is no target."""
    run = Path("run")
    answer = program(*command_of(table, "classification", run), *TINY, *CHAIN, "data.group_columns=[prime]")
    assert answer.code == 0, answer.err
    own = record_of(run)["slices"]["prime"]
    found = read(run, "test").columns
    prime = [truths(table)[Path(name).name]["prime"] for name in found["sample"]]
    assert found["slice:prime"].tolist() == prime
    right = [np.argmax(logits) == target for logits, target in zip(found["logits"], found["target"], strict=True)]
    for row in own["values"]:
        of_value = [it for it, value in zip(right, prime, strict=True) if value == row["value"]]
        assert (row["n"], row["score"]) == (len(of_value), pytest.approx(np.mean(of_value)))
    assert "prime: test/accuracy, gap" in (run / "report.html").read_text()


LEARNED = [("classification", "accuracy", 0.8), ("multi_label", "average_precision", 0.85), ("regression", "r2", 0.6)]


# What says nothing of the picture scores 0.1; 0.47, which is the mean frequency of the labels; and 0.
@pytest.mark.parametrize(
    ("task", "score", "least"),
    short_form(LEARNED, *LEARNED[1:]),
)
def test_a_run_learns(task: str, score: str, least: float, finished: Callable[[str], Path]) -> None:
    record = record_of(finished(task))
    print({name: round(value, 3) for name, value in record["metrics"].items()})
    assert record["metrics"][f"test/{score}"] > least
    assert record["monitor"] == f"val/{score}"
    assert (record["data"]["name"], record["metrics"]["test/n"]) == ("digits", record["data"]["num_test"])


@pytest.mark.parametrize("task", short_form(TASKS, "multi_label", "regression"))
def test_evaluate_gives_the_very_same_numbers(
    task: str, finished: Callable[[str], Path], composed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from frostline.commands.evaluate import evaluate
    from frostline.runs.folder import read_run

    record = record_of(finished(task))
    capsys.readouterr()
    scores = evaluate(composed(f"run={finished(task)}", config="evaluate"), *read_run(finished(task)))
    assert scores == {name: value for name, value in record["metrics"].items() if name.startswith("test/")}
    printed = capsys.readouterr().out
    assert set(record["per_class"][0]) <= set(printed.split()), "the table has all columns"
    assert ("by    prime: " in printed) == bool(record["slices"])


def test_predictions_of_labels_are_those_that_were_scored(
    program: Program, table: Path, finished: Callable[[str], Path]
) -> None:
    record = record_of(finished("multi_label"))
    assert record["data"]["classes"] == LABELS
    rows, truth = predicted(program, table, finished("multi_label")), truths(table)
    assert list(rows[0]) == ["file", "labels", *(f"probability_{name}" for name in LABELS)]
    assert len(rows) == len(truth) == 600
    wanted = np.array([[int(truth[Path(row["file"]).name][name]) for name in LABELS] for row in rows])
    given = np.array([[float(row[f"probability_{name}"]) for name in LABELS] for row in rows])
    assert average_precision_score(wanted, given) > record["metrics"]["test/average_precision"] - 0.05
    for row, values in zip(rows, given, strict=True):
        assert row["labels"] == "|".join(name for name, value in zip(LABELS, values, strict=True) if value > 0.5)


def test_the_table_of_a_run_can_be_predicted_and_its_targets_are_kept(
    program: Program, table: Path, finished: Callable[[str], Path]
) -> None:
    of_files = {Path(row.pop("file")).name: row for row in predicted(program, table, finished("multi_label"))}
    answer = program("predict", f"run={finished('multi_label')}", f"input={table}")
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["path"] for row in rows] == [*truths(table)]
    assert rows == [{**its, **of_files[its["path"]]} for its in truths(table).values()]


def test_predictions_of_numbers_are_in_their_unit(
    program: Program, table: Path, finished: Callable[[str], Path]
) -> None:
    record = record_of(finished("regression"))
    assert record["data"]["classes"] == []
    assert record["data"]["targets"]["names"] == ["value", "tens"]
    value, tens = record["per_class"]
    assert (value["target"], tens["target"]) == ("value", "tens")
    assert tens["mse"] == pytest.approx(100 * value["mse"], rel=0.5)
    rows, truth = predicted(program, table, finished("regression")), truths(table)
    assert list(rows[0]) == ["file", "value", "tens"]
    for name, mean in (("value", 4.5), ("tens", 1045)):
        wanted = [float(truth[Path(row["file"]).name][name]) for row in rows]
        given = [float(row[name]) for row in rows]
        assert np.mean(given) == pytest.approx(mean, rel=0.3)
        assert r2_score(wanted, given) > value["r2"] - 0.1


@pytest.mark.parametrize("task", short_form(["multi_label", "regression"], "multi_label"))
def test_what_is_kept_changes_no_bit(task: str, program: Program, table: Path) -> None:
    plain = ["data.augment=none"]
    never = trained(program, table, task, "never", *plain, "cache=never")
    always = trained(program, table, task, "always", *plain, "cache=always")
    assert [row["cached"] for row in never["phases"]] == [False, False]
    assert [row["cached"] for row in always["phases"]] == [True, False]
    require_equal("always", "never")


@pytest.mark.long
def test_other_targets_of_the_same_pictures_find_what_is_kept(program: Program, table: Path) -> None:
    own = ["cache=always", "cache.dir=own", "schedule.phases.head.epochs=2"]
    first, then = (
        trained(program, table, "regression", name, *own, f"data.target_columns=[{name}]")["phases"][0]
        for name in ("value", "tens")
    )
    assert first["cache"]["made"] == then["cache"]["found"] > 0
    assert then["cache"]["made"] == 0


@pytest.mark.parametrize("task", short_form(["multi_label", "regression"], "regression"))
def test_a_stopped_run_goes_on_to_the_same_weights(
    task: str, program: Program, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with mixup, which mixes labels and numbers too."""
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    own = ["data.augment=strong", "head=mlp", "head.hidden=[32]", stopper]
    trained(program, table, task, "whole", *own)
    monkeypatch.setenv("STOP_AT", f"train 5 {signal.SIGINT.value}")
    assert trained(program, table, task, "run", *own, code=130)["status"] == "interrupted"
    monkeypatch.delenv("STOP_AT")
    answer = program("train", "resume=run", "trust=true")
    assert answer.code == 0, answer.err
    require_equal("run", "whole")


@pytest.mark.long
def test_labels_in_one_column_train_as_those_in_columns_of_their_own(program: Program, table: Path) -> None:
    """But for their order, which is that of the alphabet."""
    one = trained(program, table, "multi_label", "one", "data.target_columns=[properties]", "data.separator='|'")
    many = trained(program, table, "multi_label", "many", "data.target_columns=[above_4,even,prime]")
    assert one["data"]["classes"] == many["data"]["classes"]
    assert one["metrics"] == many["metrics"]


@pytest.mark.long
def test_a_new_run_takes_the_head_along_where_it_means_the_same(
    program: Program, table: Path, finished: Callable[[str], Path]
) -> None:
    old = f"init_from={finished('regression')}"
    same = trained(program, table, "regression", "same", old)
    assert same["model"]["weights"].endswith("the head is loaded too")
    other = trained(program, table, "regression", "other", "data.target_columns=[tens,value]", old)
    assert "the head is new" in other["model"]["weights"]
    assert same["metrics"]["test/r2"] > other["metrics"]["test/r2"]


def test_the_table_may_have_moved_since(
    program: Program, table: Path, tmp_path: Path, finished: Callable[[str], Path]
) -> None:
    record = record_of(finished("regression"))
    (tmp_path / "moved.csv").write_text(table.read_text())
    answer = program("evaluate", f"run={finished('regression')}", "data.file=moved.csv", f"data.dir={table.parent}")
    assert answer.code == 0, answer.err
    assert f"test/r2 {record['metrics']['test/r2']:.4f}" in answer.out


WRONG = {
    "numbers of class folders": (["task=regression", "data=digits"], "learns from numbers for each sample"),
    "labels of class folders": (["task=multi_label", "data=digits"], "learns from any number of labels"),
    "classes of numbers": (
        ["task=classification", "data.target_columns=[half]"],
        "is a number, not the name of a class",
    ),
    "numbers of names": (["task=regression", "data.target_columns=[digit]"], "'zero' in 'digit' is not a number"),
    "labels of numbers": (["task=multi_label", "data.target_columns=[value,even]"], "is neither 0 nor 1"),
    "labels of names": (["task=multi_label", "data.target_columns=[digit,even]"], "'zero' in 'digit' is neither"),
    "a score of another task": (
        ["task=regression", "data.target_columns=[value]", "task.monitor=val/accuracy"],
        "no score 'val/accuracy'",
    ),
}


@pytest.mark.parametrize("pairing", WRONG)
def test_a_task_and_data_that_do_not_go_together_are_told_before_training(
    pairing: str, program: Program, table: Path, tmp_path: Path
) -> None:
    overrides, said = WRONG[pairing]
    content = [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()]
    halves = [f"{content[0]},half", *(f"{line},{number % 7 / 2}" for number, line in enumerate(content[1:]))]
    (tmp_path / "halves.csv").write_text("\n".join(halves))
    own = [] if "data=digits" in overrides else ["data=image_csv", "data.file=halves.csv", f"data.dir={table.parent}"]
    answer = program("train", *own, *overrides, "run_dir=run")
    assert answer.code == 1
    assert said in answer.err
    assert "next:" in answer.err
    assert not (tmp_path / "run").exists()


def test_classes_of_a_table_rank_backbones(program: Program, table: Path) -> None:
    few = ["data.train_limit=100", "data.image_size=8"]
    answer = program("rank", "models=[bundled]", "data=image_csv", f"data.file={table}", *few, TASKS["classification"])
    assert answer.code == 0, answer.err
    assert "bundled" in answer.out
