"""Whole runs on ratings of users: what is ranked, by which baselines it is judged, and what each column adds."""

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from sklearn.metrics import ndcg_score

from compared import require_intervals
from conftest import DEVICE, Answer
from frostline.cli.main import main
from frostline.runs.predictions import read
from frostline.training import column_probes, table_baselines

Program = Callable[..., Answer]

ROWS, USERS, ITEMS = 600, 8, 40
COLUMNS = ["data.number_columns=[price,weight]", "data.category_columns=[kind]", "data.id_columns=[user,item]"]
COLUMNS += ["data.image_columns=[]", "data.text_columns=[]"]
SHORT = [
    "model=fusion",
    "data=table",
    *COLUMNS,
    *DEVICE,
    "trainer.precision=32-true",
    "logger=none",
    "report=false",
    "schedule=full",
]
SHORT += ["callbacks.progress=null", "schedule.phases.all.epochs=4", "schedule.phases.all.lr_scale=1", "head.width=8"]
SHORT += ["head.hidden=[16]", "optimizer.lr=0.01", "data.split_by=time", "data.time_column=at"]
TASKS = {
    "regression": ["task=regression", "data.target_columns=[stars]"],
    "classification": ["task=classification", "data.target_columns=[like]"],
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stars by user, item, price, and what the user thinks of the item's kind. The weight says nothing."""
    draw = np.random.default_rng(0)
    user, item = draw.integers(USERS, size=ROWS), draw.integers(ITEMS, size=ROWS)
    price, weight = draw.normal(size=ROWS), draw.normal(size=ROWS)
    stars = draw.normal(0, 0.5, USERS)[user] + draw.normal(0, 0.5, ITEMS)[item] + 0.7 * price
    stars += draw.normal(size=(USERS, 3))[user, item % 3] + draw.normal(0, 0.3, ROWS)
    lines = ["user,item,kind,price,weight,at,stars,like"]
    lines += [
        f"u{user[i]},i{item[i]},k{item[i] % 3},{price[i]:.3f},{weight[i]:.3f},{i // 2},{stars[i]:.3f},"
        f"{'yes' if stars[i] > 0 else 'no'}"
        for i in range(ROWS)
    ]
    file = tmp_path_factory.mktemp("stars") / "stars.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def finished(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """`finished("regression")`: the folder of a run, which no test changes, and what it printed."""

    @cache
    def run(task: str) -> tuple[Path, str]:
        import contextlib
        import io

        folder, printed = tmp_path_factory.mktemp(task) / "run", io.StringIO()
        typed = ["frostline", "train", *SHORT, *TASKS[task], f"data.file={table}", f"run_dir={folder}"]
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            patch.setattr(sys, "argv", typed)
            main()
        GlobalHydra.instance().clear()
        return folder, printed.getvalue()

    return run


def record_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


Finished = Callable[[str], tuple[Path, str]]


def test_the_latest_rows_are_tested(finished: Finished) -> None:
    record, printed = record_of(finished("regression")[0]), finished("regression")[1]
    assert [record["data"][f"num_{split}"] for split in ("train", "val", "test")] == [432, 48, 120]
    assert "rows of 2 numbers, one category, 2 ids" in printed
    assert "by 'at': train from 0 to 215, val from 216 to 239, test from 240 to 299" in printed
    assert "test has 8 users by 'user': ndcg_10 is of 8 with different targets" in printed


def test_the_order_is_what_scikit_learn_finds_in_the_stored_predictions(finished: Finished, table: Path) -> None:
    folder, _ = finished("regression")
    record = record_of(folder)
    stored = read(folder, "test").columns
    order = stored["index"].argsort()
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    users = np.array([row[0] for row in rows])[-120:]
    stars = np.array([float(row[6]) for row in rows])
    gains = np.clip(stars[-120:] - stars[:432].min(), 0, None)
    predicted = stored["predicted"][order].reshape(-1)
    assert stored["target"][order].reshape(-1) == pytest.approx(stars[-120:], abs=1e-6)
    expected = [ndcg_score([gains[users == user]], [predicted[users == user]], k=10) for user in sorted(set(users))]
    assert record["metrics"]["test/ndcg_10"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert record["metrics"]["test/ndcg_users"] == 8
    require_intervals(record)
    assert record["intervals"]["test/ndcg_10"]["caution"] == "only 8 of what is drawn"
    assert record["metrics"]["test/rmse"] == pytest.approx(np.sqrt(np.mean((predicted - stars[-120:]) ** 2)), rel=1e-4)


def test_ratings_are_judged_by_simple_models(finished: Finished) -> None:
    folder, printed = finished("regression")
    baselines = record_of(folder)["baselines"]
    error = {name: baselines[name]["val/rmse"] for name in ("mean", "bias", "ridge", "pairs", "trees")}
    assert 0.3 < error["pairs"] < error["ridge"] < error["bias"] < error["mean"], "noise of 0.3; a taste is a product"
    assert error["trees"] < error["mean"]
    assert all(0 < baselines[name]["val/ndcg_10"] <= 1 for name in error)
    lines = printed.splitlines()
    (first,) = [place for place, line in enumerate(lines) if line.startswith("base")]
    said = "   ".join(f"{name} {value:.4f}" for name, value in error.items())
    assert lines[first] == f"base  {said}   this run {record_of(folder)['metrics']['val/rmse']:.4f} (val/rmse)"
    assert lines[first + 1].endswith("(val/ndcg_10)")


def test_a_column_that_adds_nothing_is_told(finished: Finished) -> None:
    folder, printed = finished("regression")
    baselines = record_of(folder)["baselines"]
    assert {name: own["shows"] for name, own in baselines["adds"].items()} == {
        "price": True, "weight": False, "kind": True, "user": True, "item": True,
    }  # fmt: skip
    (line,) = [line for line in printed.splitlines() if line.startswith("adds")]
    added = baselines["adds"]["price"]["without"]["val/rmse"] - baselines["pairs"]["val/rmse"]
    assert line.startswith(f"adds  price {added:.4f}   weight nothing clear   kind ")
    assert line.endswith("(val/rmse of pairs, with and without it)")


def test_likes_are_judged_and_ranked_too(finished: Finished) -> None:
    folder, printed = finished("classification")
    record = record_of(folder)
    found = {
        name: record["baselines"][name]["val/accuracy"] for name in ("majority", "bias", "logistic", "pairs", "trees")
    }
    assert max(found["logistic"], found["pairs"]) > found["majority"]
    assert "test/ndcg_10" in record["metrics"]
    (line,) = [line for line in printed.splitlines() if line.startswith("base")]
    assert line.startswith(f"base  majority {found['majority']:.4f}   bias {found['bias']:.4f}   logistic ")
    assert f"this run {record['metrics']['val/accuracy']:.4f} (val/accuracy)" in line


def test_other_rows_are_ranked_by_their_own_users(finished: Finished, table: Path, program: Program) -> None:
    """Users that training does not have, and a row without one."""
    folder, _ = finished("regression")
    rows = [f"new{i % 2},i{i % 7},k0,{i / 10},0,{i},{i / 10},yes" for i in range(30)]
    Path("other.csv").write_text("\n".join([table.read_text().splitlines()[0], *rows, ",i1,k0,1,0,1,1,yes"]) + "\n")
    answer = program("evaluate", f"run={folder}", "data.file=other.csv")
    assert answer.code == 0, answer.err
    assert "test has 2 users by 'user': ndcg_10 is of 2 with different targets" in answer.out
    assert "one sample of test names no user, and is not ranked" in answer.out
    assert "test/ndcg_users 2.0000" in answer.out


def test_the_best_order_may_choose_the_epoch(table: Path, program: Program) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    typed = [*SHORT, *TASKS["regression"], f"data.file={table}", "schedule.phases.all.epochs=3", "logger=tensorboard"]
    typed += ["optimizer.lr=0.1"]
    answer = program("train", *typed, "task.monitor=val/ndcg_10", "run_dir=run")
    assert answer.code == 0, answer.err
    events = EventAccumulator("run/tensorboard").Reload()
    curves = {name: [event.value for event in events.Scalars(f"val/{name}")] for name in ("ndcg_10", "rmse")}
    best = record_of(Path("run"))["best"]["epoch"] - 1
    assert best == int(np.argmax(curves["ndcg_10"])) != int(np.argmin(curves["rmse"]))
    assert record_of(Path("run"))["metrics"]["val/ndcg_10"] == pytest.approx(max(curves["ndcg_10"]), abs=1e-6)
    answer = program("train", *typed, "task.monitor=val/ndcg_10", "data.user_column=null", "data.id_columns=[user]")
    assert answer.code == 1
    assert "there is no score 'val/ndcg_10'" in answer.err


def test_what_was_left_out_is_told(table: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_baselines, "MOST_ROWS", 200)
    monkeypatch.setattr(table_baselines, "MOST_PAIRED", 100)
    monkeypatch.setattr(table_baselines, "FLOPS", 1e6)
    monkeypatch.setattr(column_probes, "MOST_CODES", 20)
    typed = [*SHORT, *TASKS["regression"], f"data.file={table}", "schedule.phases.all.epochs=1", "run_dir=run"]
    answer = program("train", *typed)
    assert answer.code == 0, answer.err
    assert record_of(Path("run"))["baselines"]["notes"] == [
        "they learn from 200 training rows",
        "linear models do not see item: too many names",
        "pairs of columns, and what each column adds, are learned from 100 training rows",
        "trees do not see item: too many names",
    ]
    assert "      trees do not see item: too many names" in answer.out
