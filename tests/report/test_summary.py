"""The summary that a run prints at its end."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from frostline.quoting import program
from frostline.report.baselines import baseline_lines
from frostline.report.summary import print_run, print_scores, print_test
from frostline.runs.record import Record


def _printed(score: float, capsys: pytest.CaptureFixture[str], phase: str = "all", **baselines: float) -> list[str]:
    """A run of seven epochs with this accuracy on 100 validation pictures."""
    row: dict[str, Any] = {"name": phase, "learns": ["head", "stem"], "learning_rates": {"head": 0.1}, "epochs": 7}
    row |= {"trainable_parameters": 1, "seconds": 1.0, "samples_per_second": 1.0, "val": {"val/accuracy": score}}
    record = Record(command="frostline train", seed=0, data={"num_val": 100, "classes": []}, monitor="val/accuracy")
    record.phases, record.metrics = [row], {"val/accuracy": score, "test/n": 9}
    record.baselines = {name: {"val/accuracy": value} for name, value in baselines.items()}
    print_run(record, Path("run"))
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("score", "baselines", "said"),
    [
        (0.79, {"majority": 0.58, "knn": 0.95, "linear_probe": 0.9}, "clearly below the linear probe"),
        (0.58, {"majority": 0.58}, "not above the majority"),
        (0.5800000429153442, {"majority": 0.58, "linear_probe": 0.9}, "not above the majority"),  # the same in float32
        (0.50, {"majority": 0.58, "knn": 0.5, "linear_probe": 0.9}, "not above the majority"),
    ],
)
def test_a_run_that_learned_too_little_is_told_what_to_try(
    score: float, baselines: dict[str, float], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _printed(score, capsys, **baselines)
    (place,) = [number for number, line in enumerate(lines) if line.startswith("base")]
    assert lines[place + 1].startswith(f"      {said}")
    assert "try schedule.phases.all.epochs=14, a smaller data.batch_size, or another rate" in lines[place + 1]


@pytest.mark.parametrize(
    ("score", "baselines"),
    [
        (0.88, {"majority": 0.58, "knn": 0.95, "linear_probe": 0.9}),  # within 0.03, the standard error of 0.9
        (0.59, {"majority": 0.58}),
        (1.00, {"majority": 1.00}),  # validation has one class
        (0.10, {}),
    ],
)
def test_a_run_that_learned_enough_or_has_no_baseline_is_told_nothing(
    score: float, baselines: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "; try " not in "\n".join(_printed(score, capsys, **baselines))


def test_of_several_better_models_the_best_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(0.5, capsys, bias=0.7, logistic=0.95, pairs=0.9, trees=0.8)
    assert "clearly worse than logistic;" in "\n".join(lines)


def test_the_best_of_numbers_has_the_least_error(capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(command="frostline train", seed=0, data={"num_val": 100, "classes": []}, monitor="val/rmse")
    record.phases = [{"name": "all", "learns": ["head"], "epochs": 7}]
    record.metrics = {"val/rmse": 2.0}
    record.baselines = {name: {"val/rmse": error} for name, error in (("mean", 1.5), ("bias", 0.5), ("trees", 0.9))}
    assert baseline_lines(record, "frostline")[1].startswith("      clearly worse than bias;")


def test_no_column_adds_less_than_nothing() -> None:
    """A column may show in the squared error of classes while the accuracy is higher without it."""
    record = Record(command="frostline train", seed=0, data={"num_val": 100, "classes": []}, monitor="val/accuracy")
    adds = {name: {"without": {"val/accuracy": value}, "shows": True} for name, value in (("a", 0.91), ("b", 0.7))}
    record.baselines = {"majority": {"val/accuracy": 0.5}, "pairs": {"val/accuracy": 0.9}, "adds": adds}
    record.phases, record.metrics = [{"name": "all", "learns": ["head"], "epochs": 7}], {"val/accuracy": 0.95}
    assert baseline_lines(record, "frostline")[-1].startswith("adds  a nothing clear   b 0.2000 (")


def test_scores_of_a_task_of_ones_own_are_compared_by_the_one_that_chose_the_epoch() -> None:
    record = Record(command="frostline train", seed=0, data={"num_val": 100}, monitor="val/mae", mode="min")
    record.phases, record.metrics = [{"name": "all", "learns": ["head"], "epochs": 7}], {"val/mae": 0.5}
    adds = {"age": {"without": {"val/mae": 2.5}, "shows": True}, "name": {"without": {"val/mae": 0.3}, "shows": True}}
    record.baselines = {"mean": {"val/mae": 4.0}, "pairs": {"val/mae": 0.4}, "adds": adds}
    base, advice, added = baseline_lines(record, "frostline")
    assert advice.startswith("      clearly worse than pairs; try ")
    assert base == "base  mean 4.0000   pairs 0.4000   this run 0.5000 (val/mae)"
    assert added.startswith("adds  age 2.1000   name nothing clear (val/mae")
    record.metrics["val/mae"] = 0.42  # within its standard error
    assert len(baseline_lines(record, "frostline")) == 2
    record.mode = "max"
    assert len(baseline_lines(record, "frostline")) == 2
    record.monitor = "val/none"
    assert baseline_lines(record, "frostline") == []


def test_a_phase_of_each_block_is_named_by_its_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert "schedule.phases.thaw.epochs=14," in "\n".join(_printed(0.1, capsys, phase="thaw-stem", majority=0.5))


def test_no_number_of_the_table_is_cut_where_names_are_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal of the usual width what learns is wrapped."""
    monitor = "val/average_precision"
    row: dict[str, Any] = {"name": "adapters", "learns": ["head", "layer_11", "embeddings", "norm"], "epochs": 7}
    row |= {
        "trainable_parameters": 22_566_531,
        "seconds": 1234.5,
        "samples_per_second": 14_789.0,
        "val": {monitor: 0.5},
    }
    row |= {"learning_rates": {"head": 0.00123, "norm": 0.000123}, "samples_per_second": 14_789.0}
    record = Record(command="frostline train", seed=0, data={"num_val": 100, "classes": []}, monitor=monitor)
    record.phases, record.metrics = [row], {monitor: 0.5, "test/n": 9}
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "130")
    print_run(record, Path("run"))
    printed = capsys.readouterr().out
    for said in ("adapters", "22,566,531", "1234.5", "14,789", monitor, "0.0012 … 0.00012", "head, layer_11 … norm"):
        assert said in printed


def _two_phases(best: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """A head of one epoch, then seven epochs of everything in 40 seconds."""
    common: dict[str, Any] = {"learning_rates": {"head": 0.1}, "trainable_parameters": 1, "samples_per_second": 1.0}
    common |= {"val": {"val/accuracy": 0.8}}
    record = Record(command="frostline train", seed=0, data={"num_val": 100, "classes": []}, monitor="val/accuracy")
    record.phases = [
        {"name": "head", "learns": ["head"], "epochs": 1, "seconds": 1.0, "solved": True, **common},
        {"name": "all", "learns": ["head", "stem"], "epochs": 7, "seconds": 40.0, **common},
    ]
    record.metrics = {"val/accuracy": 0.8, "test/n": 9}
    record.best = {"average": None, **best}
    print_run(record, Path("run"))
    return capsys.readouterr().out


def test_phases_after_the_head_that_brought_nothing_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    printed = _two_phases({"phase": "head", "epoch": 1}, capsys)
    assert "thawing for 40 s did not improve the score: schedule=head_only leaves it out" in printed
    assert "did not improve the score" not in _two_phases({"phase": "all", "epoch": 4}, capsys)


def test_an_epoch_below_the_highest_score_says_why_it_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    printed = _two_phases({"phase": "all", "epoch": 4, "highest": 0.8462}, capsys)
    assert "0.8000 (the latest within one standard error of the highest, 0.8462)" in printed
    assert "standard error" not in _two_phases({"phase": "all", "epoch": 4}, capsys)


def test_intervals_stand_below_their_scores(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"test/accuracy": 0.75, "test/loss": 0.5, "test/n": 20.0}
    found = {"low": 0.5, "high": 0.875, "caution": "only 20 samples"}
    print_scores(metrics, intervals={"test/accuracy": found})
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "test  test/accuracy 0.7500   test/loss 0.5000   (n = 20)",
        "95 %  test/accuracy 0.5000 … 0.8750",
        "      do not trust the interval of test/accuracy: only 20 samples",
    ]
    print_scores(metrics)
    assert "95 %" not in capsys.readouterr().out


def test_a_test_split_says_all_that_is_known_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(command="", seed=0, metrics={"test/accuracy": 0.9, "test/n": 50.0}, test_uses=3)
    record.intervals = {"test/accuracy": {"low": 0.8, "high": 0.95, "caution": ""}}
    record.slices = {"site": {"left_out": "all samples of the test split have one value"}}
    print_test(record)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:6].strip() for line in lines] == ["test", "95 %", "", "by"]
    assert "3 runs were scored on this test split" in lines[2]
    assert lines[3] == "by    site is left out: all samples of the test split have one value"


def test_the_program_is_one_word_of_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "my env" / "frostline"
    place.parent.mkdir()
    place.touch()
    monkeypatch.setattr(sys, "executable", str(place.with_name("python")))
    place.chmod(0o755)
    other = tmp_path / "bin" / "frostline"  # of another environment
    other.parent.mkdir()
    other.touch(0o755)
    for path in (tmp_path, other.parent):
        monkeypatch.setenv("PATH", str(path))
        assert shlex.split(program()) == [str(place)]
    monkeypatch.chdir(place.parent)
    assert shlex.split(program()) == [str(place)], "a shell does not look in its own folder"
    monkeypatch.chdir(tmp_path)
    assert shlex.split(program()) == ["my env/frostline"]
    link = tmp_path / "frostline"
    link.symlink_to(place)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "frostline"
