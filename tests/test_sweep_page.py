"""report.html of a sweep: its leaderboard, charts and links; names that cannot break out; built anew."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Answer
from frostline.cli import dispatch
from frostline.pages.dimensions import LOG_FROM, MOST_NAMES, WORD, Tried, axis_of, forest, parallel, scatter
from frostline.pages.drawing import short_labels
from frostline.pages.sweep import (
    MOST_DIMENSIONS,
    MOST_INTERVALS,
    _best,
    _cell,
    _facts,
    _forest,
    _is_numeric,
    _name_of,
    _rankings,
    write_sweep_page,
)
from frostline.report.leaderboard import write_leaderboard
from frostline.report.trials import Setting, Trial, best_settings, settings_of
from frostline.runs.predictions import file_of
from frostline.runs.record import Record
from test_pages import NASTY, Page

Program = Callable[..., Answer]


@pytest.fixture
def sweep(small_run: Path, tmp_path: Path) -> Path:
    """Four runs of two settings, made of one; the last did not finish."""
    folder = tmp_path / "sweep"
    (folder / ".jobs").mkdir(parents=True)
    said = {
        "schema": 1,
        "arguments": ["optimizer=adamw,sgd", "optimizer.lr=1e-3,1e-1"],
        "cwd": "/",
        "jobs": [],
        "search": {},
    }
    (folder / "sweep.json").write_text(json.dumps(said))
    for number, (optimizer, rate) in enumerate(
        [("adamw", "1e-3"), ("adamw", "1e-1"), ("sgd", "1e-3"), ("sgd", "1e-1")]
    ):
        shutil.copytree(small_run, folder / str(number), ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
        changed(folder, number, optimizer=optimizer, rate=rate, score=0.3 + number / 10)
    changed(folder, 3, status="failed", error={"type": "RunError", "message": f"the loss is nan {NASTY}"})
    write_leaderboard(folder)
    return folder


def changed(folder: Path, number: int, **values: Any) -> None:
    file = folder / str(number) / "run.json"
    record = json.loads(file.read_text())
    if "optimizer" in values:
        record["command"] = f"frostline train optimizer={values.pop('optimizer')} optimizer.lr={values.pop('rate')}"
        record["metrics"]["val/accuracy"] = values.pop("score")
    file.write_text(json.dumps(record | values))


def test_the_page_shows_the_leaderboard_and_links_the_runs(sweep: Path) -> None:
    page = Page(write_sweep_page(sweep))
    assert [it["href"] for it in page.all("a")][1:] == [
        "2/report.html",
        "2/report.html",
        "1/report.html",
        "0/report.html",
    ]
    said = [
        "frostline train -m optimizer=adamw,sgd",
        "3 finished, 1 failed",
        "Runs that did not finish",
        "the loss is nan",
    ]
    said += ["val/accuracy 0.5000", "evaluate", f"sweep.resume={sweep}", f"frostline report run={sweep}"]
    assert [text for text in said if text not in page.text] == []
    assert page.source.count("<svg") == 4  # intervals, all settings together, and each
    values = [it["data-value"] for it in page.all("td") if "data-value" in it]
    assert values[:2] == ["sgd", "0.001"], "plain numbers, so that a browser sorts them"
    assert '<th scope="col" class="n">optimizer.<wbr>lr</th>' in page.source


def test_test_scores_have_their_intervals(sweep: Path) -> None:
    own = {"low": 0.125, "high": 0.875, "by": "wilson", "units": 20, "unit": "sample", "caution": "only 20 samples"}
    score = json.loads((sweep / "0" / "run.json").read_text())["metrics"]["test/accuracy"]
    changed(sweep, 0, intervals={"test/accuracy": own})
    write_leaderboard(sweep)
    page = Page(write_sweep_page(sweep))
    assert f"{score:.4f}0.1250 … 0.8750" in page.text
    assert "do not trust the interval of test/accuracy: only 20 samples" in page.text
    assert "Below a test score: its 95 % interval over test samples" in page.text


def test_nothing_breaks_out_or_comes_from_elsewhere(sweep: Path) -> None:
    for number, name in enumerate((NASTY, "plain")):
        file = sweep / str(number) / "run.json"
        record = json.loads(file.read_text())
        record["command"] = f"frostline train 'model=<b>{number}' 'x=\"<i>{name.replace(chr(39), '')}\"'"
        record["data"]["name"] = NASTY
        file.write_text(json.dumps(record))
    content = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(content | {"arguments": [NASTY]}))
    write_leaderboard(sweep)
    page = Page(write_sweep_page(sweep))
    assert len(page.all("script")) == 1
    assert not re.search(r"<script>alert|<b>|<i>|\x1b|url\(|@import|https?://", page.source)
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    ids = [it["id"] for _, it in page.tags if "id" in it]
    assert len(ids) == len({*ids})


def test_what_runs_noted_on_their_data_stands_there_once(sweep: Path) -> None:
    for number in range(4):
        record = Record.read(sweep / str(number))
        record.notes = ["few samples", *([f"in both train and test {NASTY}"] if number == 2 else [])]
        record.write(sweep / str(number))
    config = sweep / "1" / "config.yaml"
    record = Record.read(sweep / "1")
    record.notes.append("patient 7 is in both train and test")
    record.write(sweep / "1")
    assert "patient 7" in Page(write_sweep_page(sweep)).text
    page = Page(write_sweep_page(sweep))
    assert page.text.count("few samples") == 1
    assert "all runs: few samples" in page.text
    config.write_text(re.sub(r"^report:.*(\n .*)*", "report:\n  pictures: false", config.read_text(), flags=re.M))
    private = Page(write_sweep_page(sweep))
    assert "patient 7" not in private.text
    assert "few samples" not in private.text, "another run may have the same samples"
    config.write_text("{")
    assert "patient 7" not in Page(write_sweep_page(sweep)).text
    assert "run 2: in both train and test" in page.text
    assert not re.search(r"<script>alert|\x1b", page.source)


@pytest.mark.parametrize("begun", [True, False])
def test_why_a_run_failed_is_left_out_if_its_page_shows_no_samples(sweep: Path, begun: bool) -> None:
    """The reason may name a sample. A run that failed before it began has its command alone."""
    changed(sweep, 3, error={"type": "DataError", "message": "cannot be read: patient_7.png"})
    write_leaderboard(sweep)
    assert "patient_7" in Page(write_sweep_page(sweep)).text
    config = sweep / "3" / "config.yaml"
    if begun:
        config.write_text(re.sub(r"^report:.*(\n .*)*", "report:\n  pictures: false", config.read_text(), flags=re.M))
    else:
        config.unlink()
        record = Record.read(sweep / "3")
        record.command += " report.pictures=false"
        record.write(sweep / "3")
    write_leaderboard(sweep)
    page = Page(write_sweep_page(sweep))
    assert "patient_7" not in page.source
    assert "left out (report.pictures=false)" in page.text


def test_it_is_built_anew(program: Program, sweep: Path) -> None:
    answer = program("report", str(sweep))
    assert answer.code == 0, answer.err
    assert answer.out == f"page  {sweep / 'report.html'}\n"
    assert "Leaderboard" in Page(sweep / "report.html").text
    shutil.rmtree(sweep / "0")
    for number in (1, 2, 3):
        shutil.rmtree(sweep / str(number))
    assert "no job of this sweep began" in program("report", str(sweep)).err


def test_the_newest_sweep_of_a_folder_is_proposed(program: Program, tmp_path: Path) -> None:
    for number, day in enumerate(["b", "a"]):
        folder = tmp_path / "logs" / day
        folder.mkdir(parents=True)
        (folder / "sweep.json").touch()
        os.utime(folder / "sweep.json", (number, number))
    answer = program("report", "logs")
    assert answer.code == 1
    assert "this folder is neither a run nor a sweep, but holds 2 sweeps\n  where: logs\n" in answer.err
    assert "frostline report run=logs/a  # the newest sweep\n    or:  frostline leaderboard folder=logs" in answer.err
    (tmp_path / "runs" / "it").mkdir(parents=True)
    (tmp_path / "runs" / "it" / "run.json").touch()
    assert "holds one run" in program("report", "runs").err


def test_runs_are_looked_for_in_so_many_folders_only(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MOST_FOLDERS", 4)
    for place in ("logs/a", "logs/deep/er/b", "logs/gone"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("a", "deep/er/b"):
        (tmp_path / "logs" / name / "run.json").touch()
    (tmp_path / "logs" / "gone" / "run.json").symlink_to("nothing")  # as if it was removed meanwhile
    answer = program("report", "logs")
    assert (answer.code, "holds at least one run\n" in answer.err) == (1, True), answer.err
    monkeypatch.setattr(dispatch, "MOST_FOLDERS", 6)
    assert "holds 2 runs\n" in program("report", "logs").err
    monkeypatch.setattr(dispatch, "MOST_FOLDERS", 1)
    assert "this folder is not a run: it has no run.json" in program("report", "logs").err


def test_a_run_without_an_interval_stays_in_the_leaderboard(sweep: Path) -> None:
    (sweep / "2" / file_of("val")).write_bytes(b"PAR1")
    write_leaderboard(sweep)
    page = Page(write_sweep_page(sweep))
    assert page.all("a")[1]["href"] == page.all("a")[2]["href"] == "2/report.html"
    assert "run 2 has no interval: the predictions cannot be read" in page.text
    assert "as good as the best" not in page.text, "nothing was compared"


def trial(run: str, score: float, monitor: str = "val/accuracy", **overrides: str) -> Trial:
    record = Record(command="", seed=0, status="finished", monitor=monitor, metrics={monitor: score})
    return Trial(run, "finished", overrides, record, "")


def test_a_setting_that_was_not_compared_is_not_as_good() -> None:
    settings = [Setting([trial(f"{at}", 1 - at / 10, lr=f"0.{at}")]) for at in range(4)]
    marks = dict(zip("0123", ["best", "yes", "no", ""], strict=True))
    rows = {run: {"val/accuracy": "0.5", "low": "0.4", "high": "0.6", "as_good": mark} for run, mark in marks.items()}
    found = _forest(settings, ["lr"], rows, "val/accuracy")
    assert found is not None
    assert re.findall(r'class="dot (c\d)"', found.svg) == ["c1", "c1", "c0", "c2"]
    assert [meaning for _, meaning in found.legend] == ["as good as the best", "significantly worse", "not compared"]
    assert found.cut == ""
    found = _forest(settings, ["lr"], {run: row | {"as_good": ""} for run, row in rows.items()}, "val/accuracy")
    assert found is not None
    assert found.legend == []


def test_what_charts_leave_out_is_named() -> None:
    first = {f"other{at}": "1" for at in range(MOST_DIMENSIONS)}  # they do not differ in the ranking that is shown
    own = [trial(f"{at}", at, **first, **{f"x{it}": f"{at + it}" for it in range(10)}) for at in range(25)]
    trials = [*own, trial("25", 1.0, "val/loss", **dict.fromkeys(first, "2"))]
    settings = [Setting([it]) for it in trials]
    rows = [{"run": it.run, "val/accuracy": "0.5", "low": "0.4", "high": "0.6", "as_good": "yes"} for it in own]
    (found,) = _rankings(settings, trials, rows)
    assert [name for name, _ in found.scatters] == [f"x{at}" for at in range(MOST_DIMENSIONS)]
    assert found.cut == [f"{MOST_DIMENSIONS} of 10 settings that differ"]
    assert found.forest is not None
    assert found.forest.cut == f"{MOST_INTERVALS} of 25 settings with an interval, the best"


def test_the_best_setting_has_the_mean_of_its_runs(tmp_path: Path) -> None:
    runs = [trial("0", 0.9, lr="1e-3", seed="0"), trial("1", 0.5, lr="0.001", seed="1")]
    runs += [trial("2", 0.75, lr="0.1", seed="0"), trial("3", 0.75, lr="0.1", seed="1")]
    settings = settings_of(runs, tmp_path)
    (best,) = _best(tmp_path, best_settings(settings))
    assert (best["scores"], best["run"], best["runs"]) == ("val/accuracy 0.7500 ± 0.0000", "2", 2)
    assert dict(_facts(runs))["settings"] == "2", "1e-3 is 0.001"


@pytest.mark.parametrize(
    ("values", "numeric"),
    [
        (["0.01", "1e-3", "1e-4"], True),
        (["4 of 6", "6"], True),
        (["null", "0.1", ""], True),
        (["null", ""], False),
        (["1", "cos"], False),
    ],
)
def test_columns_of_numbers_are_sorted_as_numbers(values: list[str], numeric: bool, tmp_path: Path) -> None:
    assert _is_numeric(values) == numeric
    if numeric:
        cells = [_cell(tmp_path, {"x": value}, "x").value for value in values]
        assert cells == [repr(float(value.split(" ")[0])) if value[:1].isdigit() else "" for value in values]


def test_scores_are_rounded_in_every_spelling(tmp_path: Path) -> None:
    assert _cell(tmp_path, {"val/loss": "1e-05"}, "val/loss")[:2] == ("0.0000", "1e-05")


def test_drawn_rates_have_four_digits_in_table_and_chart(tmp_path: Path) -> None:
    rates = ["0.00016297508346206434", "0.00021316722834921787"]
    assert _cell(tmp_path, {"lr": rates[0]}, "lr")[:2] == ("0.000163", str(float(rates[0])))
    settings = [Setting([trial(str(at), 0.5, lr=rate)]) for at, rate in enumerate(rates)]
    rows = {str(at): {"val/accuracy": "0.5", "low": "0.4", "high": "0.6", "as_good": ""} for at in range(2)}
    found = _forest(settings, ["lr"], rows, "val/accuracy")
    assert found is not None
    assert "0.000163" in found.svg
    assert "0.0002132" in found.svg
    assert not any(rate in found.svg for rate in rates)


@pytest.mark.parametrize(
    ("folder", "name"), [("2026-11-30/14-03-22", "2026-11-30 14-03-22"), ("sweeps/rates", "rates"), ("mine", "mine")]
)
def test_a_sweep_that_is_named_after_a_time_has_its_day(folder: str, name: str, tmp_path: Path) -> None:
    assert _name_of(tmp_path / folder) == name


# --- its charts ---


@pytest.mark.parametrize(
    ("values", "places"),
    [
        (["1e-3", "1e-1", "1e-2"], [0, 1, 0.5]),
        (["0.1", "0.2", "0.3"], [0, 0.5, 1]),
        (["a", "b", "c", "a"], [0, 0.5, 1, 0]),
        (["1", "a", "1"], [0, 1, 0]),
        (["nan", "1"], [1, 0]),
        (["0.3", "", "0.1", "0.2"], [1, 0, WORD, (1 + WORD) / 2]),  # a setting that a run lacks
        (["2", "auto", "1"], [1, 0, WORD]),
        (["b", "", "2", "10", "a"], [1, 0, 0.25, 0.5, 0.75]),
        (["same", "same"], [0.5, 0.5]),
        (["0", str(2 * LOG_FROM)], [0, 1]),
    ],
)
def test_values_have_their_place(values: list[str], places: list[float]) -> None:
    axis = axis_of(values)
    assert axis.places == pytest.approx(places)
    assert all(0 <= place <= 1 for place, _ in axis.ticks)
    assert len(axis.ticks) == len(dict.fromkeys(values))


def test_many_names_share_the_last_place() -> None:
    """The names of the best runs have places of their own."""
    axis = axis_of([f"name {at}" for at in reversed(range(40))])
    assert [name for _, name in axis.ticks[:2]] == ["name 27", "name 28"]
    assert len(axis.ticks) == MOST_NAMES
    assert axis.ticks[-1] == (1.0, f"{40 - MOST_NAMES + 1} others")
    assert max(axis.places) == 1.0


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["resnet18", "resnet50"], ["resnet18", "resnet50"]),
        (["one long name", "other long name"], ["one long…", "other lon…"]),
        (["efficientnet_lite0", "efficientnet_lite1"], ["…lite0", "…lite1"]),
        (["a.phases.head.epochs", "a.phases.all.epochs"], ["…ad.epochs", "…ll.epochs"]),
        (["the model A of many", "the model B of many"], ["…A of many", "…B of many"]),
        (["a" * 40 + "bc" + "d" * 40, "a" * 40 + "bb" + "d" * 40], ["1: aaaaaa…", "2: aaaaaa…"]),
    ],
)
def test_shortened_names_stay_different(names: list[str], shown: list[str]) -> None:
    assert short_labels(names, 10) == shown


@given(st.lists(st.text("ab._", max_size=30), min_size=1, max_size=20), st.integers(8, 20))
def test_names_of_any_kind_stay_different(names: list[str], most: int) -> None:
    found = short_labels(names, most)
    assert all(len(it) <= most for it in found)
    assert len({*zip(names, found, strict=True)}) == len({*names}) == len({*found})


def test_marks_lie_within_the_drawing() -> None:
    """Also of a score outside of its interval, as a mean over seeds may be."""
    drawn = forest([("a", 0.9, 0.5, 0.7, True), ("b", 0.1, 0.5, 0.7, False)], "val/accuracy")
    assert [22 <= float(x) <= 458 for x in re.findall(r'cx="([\d.-]+)"', drawn)] == [True, True]


def test_each_run_is_drawn() -> None:
    runs = [Tried(f"{at}", (f"{at}", "<"), at / 10, at == 4) for at in range(5)]
    lines = parallel(["a", "b"], runs, "val/accuracy", maximal=True)
    assert lines.count("<polyline") == 5
    assert lines.count("curve c1") == 1
    assert lines.rindex("curve c1") > lines.rindex("curve c0")  # the best lies above
    assert "Best: a 4, b &lt;" in lines
    assert scatter("a", 0, runs, "val/accuracy").count("<circle") == 5
