"""predict: calibrated probabilities, answers that are left out, sets of classes, intervals of numbers."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits

import frostline
from conftest import Answer
from frostline.commands.calibrated import calibrated
from frostline.commands.confidence import Confidence, confidence, is_by_time
from frostline.commands.predict import _confidence
from frostline.contracts.targets import Targets
from frostline.errors import ConfigError, RunError
from frostline.report.selective import Threshold
from frostline.runs.predictions import write
from frostline.runs.record import Record
from frostline.tasks.classification import Classification
from frostline.tasks.regression import Regression
from frostline.tasks.retrieval import Retrieval

Program = Callable[..., Answer]
ABOUT = {"scores": {}, "names": []}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(load_digits().images[:40]):
        Image.fromarray((picture * 15).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path / "run"


def changed(run: Path, **values: Any) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | values))


def rows_of(answer: Answer) -> list[dict[str, str]]:
    assert answer.code == 0, answer.err
    return list(csv.DictReader(answer.out.splitlines()))


def test_probabilities_are_calibrated(program: Program, run: Path, pictures: Path) -> None:
    """By the temperature of run.json, which is not 1: those as trained, to its power, are the calibrated ones."""
    own = json.loads((run / "run.json").read_text())["calibration"]
    assert own["samples"] > 20
    changed(run, calibration=own | {"temperature": 2.5})
    files = [pictures / "00.png", pictures / "01.png"]
    raw = frostline.open(run, calibration="none")
    mended = frostline.open(run)
    assert (raw.temperature, mended.temperature) == (None, 2.5)
    for one, other in zip(raw.predict(files), mended.predict(files), strict=True):
        torch.testing.assert_close(other.values, (one.values.log() / 2.5).softmax(0))
        assert other.columns["label"] == one.columns["label"]
    said = program("predict", f"run={run}", f"input={files[0]}")
    assert "temperature 2.500, fitted on" in said.err
    assert ("those as trained were better" in said.err) == Record.read(run).temperature_harms
    assert "which also chose the epoch; it assumes samples like those of validation" in said.err
    assert float(rows_of(said)[0]["probability"]) == pytest.approx(
        float(next(mended.predict(files)).values.max()), abs=1e-6
    )
    (plain,) = rows_of(program("predict", f"run={run}", f"input={files[0]}", "calibration=none"))
    assert float(plain["probability"]) == pytest.approx(float(next(raw.predict(files)).values.max()), abs=1e-6)


def test_windows_are_not_what_the_temperature_was_fitted_on(capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(command="", seed=0, calibration={"temperature": 2.5, "samples": 100})
    cfg = {"run": "none", "checkpoint": "best", "calibration": "temperature", "abstain": None, "conformal": None}
    for windows in (True, False):
        _confidence(OmegaConf.create(cfg | {"data": {"windows": windows}}), record, classification())
        assert ("fitted on texts that were cut off, not on means of windows" in capsys.readouterr().err) == windows


def test_runs_without_a_temperature_predict_as_trained(
    program: Program, run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = json.loads((run / "run.json").read_text())["calibration"]
    changed(run, calibration={})
    answer = program("predict", f"run={run}", f"input={pictures}")
    assert answer.err.count("probabilities are as trained: the run has no temperature") == 1
    opened = frostline.open(run)
    assert opened.temperature is None
    assert "as trained" in capsys.readouterr().err
    changed(run, calibration=own)
    answer = program("predict", f"run={run}", f"input={pictures}", "checkpoint=last")
    assert "the temperature is not that of checkpoint=last" in answer.err


def test_the_network_abstains_where_it_is_not_sure(program: Program, run: Path, pictures: Path) -> None:
    rate = float(json.loads((run / "run.json").read_text())["metrics"]["val/accuracy"])
    most = round(min(0.9, 1 - rate + 0.15), 2)
    answer = program("predict", f"run={run}", f"input={pictures}", f"abstain={most}", "top_k=2")
    rows = rows_of(answer)
    assert [*rows[0]][1:6] == ["label", "abstained", "guess", "probability", "label_2"]
    assert all(row["label"] == ("" if row["abstained"] == "yes" else row["guess"]) for row in rows)
    unsure = [float(row["probability"]) for row in rows if row["abstained"] == "yes"]
    sure = [float(row["probability"]) for row in rows if row["abstained"] == "no"]
    assert max(unsure, default=0) <= min(sure, default=1)
    assert f"abstained on {len(unsure)} of 40" in answer.err
    assert "Clopper-Pearson" in answer.err
    assert "this assumes samples like those of validation" in answer.err
    found = [*frostline.open(run).predict([*map(str, sorted(pictures.iterdir()))], abstain=most)]
    assert [it.columns["label"] for it in found] == [row["label"] or None for row in rows]


def test_what_validation_cannot_promise_is_refused(program: Program, run: Path, pictures: Path) -> None:
    answer = program("predict", f"run={run}", f"input={pictures}", "abstain=0.0001")
    assert answer.code == 1
    assert "no threshold promises an error rate of 0.0001" in answer.err
    answer = program("predict", f"run={run}", f"input={pictures}", "conformal=0.0001")
    assert "cannot promise that 0.9999 of further samples are covered" in answer.err
    assert "next:  conformal=0.0" in answer.err
    answer = program("predict", f"run={run}", f"input={pictures}", "abstain=1.5")
    assert "abstain: " in answer.err
    assert "0 < x < 1" in answer.err
    shutil.rmtree(run / "predictions")
    answer = program("predict", f"run={run}", f"input={pictures}", "conformal=0.1")
    assert "stored no predictions of its split 'val'" in answer.err


def test_sets_hold_the_classes_that_are_probable_enough(
    program: Program, run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = program("predict", f"run={run}", f"input={pictures}", "conformal=0.2", "top_k=10")
    rows = rows_of(answer)
    listed = [row["set"].split("|") if row["set"] else [] for row in rows]
    for row, names in zip(rows, listed, strict=True):
        assert names == [row["label"] if at == 1 else row[f"label_{at}"] for at in range(1, len(names) + 1)]
    assert f"{sum(len(names) == 1 for names in listed)} of one class" in answer.err
    assert "sets hold the truth of 0.8 of further samples like those of validation: split conformal" in answer.err
    capsys.readouterr()
    opened, files = frostline.open(run), [*map(str, sorted(pictures.iterdir()))]
    found = [*opened.predict(files, conformal=0.2), *opened.predict(files[:1], conformal=0.2)]
    assert [it.columns["set"] for it in found] == [*listed, listed[0]]
    assert capsys.readouterr().err.count("split conformal") == 1, "once for each promise"


def regression(names: list[str]) -> Regression:
    about = {"mean": [0.0] * len(names), "std": [1.0] * len(names)}
    return Regression(Targets("numbers", names, [1] * len(names), about), l1=0.0, monitor="val/loss", mode="min")


def test_numbers_have_intervals(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    target = random.normal(size=(99, 2))
    errors = np.stack([random.permutation(99) + 1.0, (random.permutation(99) + 1.0) * 10], axis=1)
    columns = {"sample": [f"{at}" for at in range(99)], "index": np.arange(99), "target": target}
    write(tmp_path, "val", columns | {"predicted": target + errors}, ABOUT)
    task = regression(["age", "age_low"])
    found = confidence(tmp_path, Record(command="", seed=0), task, "best", abstain=None, conformal=0.1)
    assert found.half_widths == pytest.approx([90, 900])
    assert "each number alone" in found.notes[0]
    told = found.columns({"age": ["5"], "age_low": ["7"]}, [torch.tensor([5.0, 7.0])])
    assert told == {
        "age": ["5"], "age_low (interval)": ["-85"], "age_high": ["95"],
        "age_low": ["7"], "age_low_low": ["-893"], "age_low_high": ["907"],
    }  # fmt: skip


def classification() -> Classification:
    settings: dict[str, Any] = {"label_smoothing": 0.0, "class_weights": "none", "l1": 0.0}
    return Classification(Targets("class", ["no", "yes"], [5, 5]), **settings, monitor="val/loss", mode="min")


def named(number: int) -> dict[str, Any]:
    return {"sample": [f"s{at}" for at in range(number)], "index": np.arange(number)}


DAMAGES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no outputs": ({"target": np.zeros(99, int)}, {}, "have no column 'logits'"),
    "no rows": ({"target": np.zeros(0, int), "logits": np.zeros((0, 2), np.float32)}, {}, "have 0 rows"),
    "cut": ({}, {"calibration": {"samples": 100}}, "have 99 rows, and run.json tells of 100"),
    "more": ({}, {"data": {"num_val": 98}}, "have 99 rows, and run.json tells of 98"),
    "fewer classes": ({"logits": np.zeros((99, 1), np.float32)}, {}, "have other classes than the run"),
    "more classes": ({"logits": np.zeros((99, 3), np.float32)}, {}, "have other classes than the run"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_predictions_that_are_not_the_runs_own_promise_nothing(tmp_path: Path, damage: str) -> None:
    changes, said, told = DAMAGES[damage]
    whole = {"target": np.arange(99) % 2, "logits": np.zeros((99, 2), np.float32)}
    columns = changes if "target" in changes else whole | changes
    write(tmp_path, "val", named(len(columns["target"])) | columns, ABOUT)
    record = Record(command="", seed=0, **said)
    with pytest.raises(RunError, match=f"stored predictions of validation {told}") as raised:
        confidence(tmp_path, record, classification(), "best", abstain=None, conformal=0.2)
    assert raised.value.where == tmp_path / "predictions" / "val.parquet"


def test_predictions_of_other_classes_promise_nothing(tmp_path: Path) -> None:
    columns = {"target": np.arange(99) % 2, "logits": np.zeros((99, 2), np.float32)}
    write(tmp_path, "val", named(99) | columns, ABOUT | {"names": ["cat", "dog"]})
    with pytest.raises(RunError, match="have other classes than the run"):
        confidence(tmp_path, Record(command="", seed=0), classification(), "best", abstain=0.2, conformal=None)


def stored(folder: Path, logits: np.ndarray, target: np.ndarray) -> None:
    samples = {"sample": [f"{at}" for at in range(len(target))], "index": np.arange(len(target))}
    write(folder, "val", samples | {"target": target, "logits": logits.astype(np.float32)}, ABOUT)


def saturated(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets of answers whose probability float32 rounds to 1: the surest are right, 30 % of the others
    wrong."""
    random = np.random.default_rng(seed)
    gaps = np.where(random.random(number) < 0.57, random.uniform(19, 25, number), random.uniform(17.5, 18.5, number))
    wrong = (gaps < 19) & (random.random(number) < 0.3)
    return np.stack([gaps, np.zeros(number)], axis=1), wrong.astype(int)


def test_the_promise_holds_where_probabilities_round_to_one(tmp_path: Path) -> None:
    task, record = classification(), Record(command="", seed=0)
    stored(tmp_path, *saturated(2_000, 0))
    found = confidence(tmp_path, record, task, "best", abstain=0.05, conformal=None)
    logits, target = saturated(20_000, 1)
    values = [*task.probabilities(torch.from_numpy(logits))]
    answered = np.array(found.columns({"label": [""] * len(values)}, values)["abstained"]) == "no"
    assert 0.5 < answered.mean() < 0.7
    assert target[answered].mean() <= 0.05
    assert "validation also chose the epoch and the temperature, so it may fail more often" in found.notes[0]
    assert f"a probability of {-found.abstain_threshold.value:.3g} or less together" in found.notes[0]


def test_samples_that_are_not_exchangeable_are_told_once(tmp_path: Path) -> None:
    """Samples of groups, and samples split by time."""
    target, logits = np.arange(99) % 2, np.eye(2, dtype=np.float32)[np.arange(99) % 2] * 5
    groups = [f"patient {at % 7}" for at in range(99)]
    samples = {"sample": groups, "index": np.arange(99), "target": target, "logits": logits}
    task, record = classification(), Record(command="", seed=0)
    for columns, by_time, said in (
        (samples, False, []),
        (samples | {"group": groups}, False, ["validation has 7 groups, whose samples are not independent"]),
        (samples, True, ["new samples are later than those of validation (data.split_by=time)"]),
    ):
        write(tmp_path, "val", columns, ABOUT)
        found = confidence(tmp_path, record, task, "best", abstain=0.2, conformal=0.2, by_time=by_time)
        cautions = found.notes[2:]
        assert len(cautions) == len(said)
        assert all(told.startswith(wanted) for told, wanted in zip(cautions, said, strict=True))
        assert all("may fail more often" in told for told in cautions)
    assert is_by_time(OmegaConf.create({"data": {"split_by": "time"}}))
    assert not is_by_time(OmegaConf.create({"data": {"dir": "it"}})), "a run of other data"


def test_why_there_is_no_temperature_is_told() -> None:
    record = Record(command="", seed=0, calibration={"temperature": None, "why_not": "it does not help"})
    assert calibrated(record, "best", classification(), "temperature") == (
        None, "probabilities are as trained: it does not help"
    )  # fmt: skip


def test_predictions_that_are_not_finite_promise_nothing(tmp_path: Path) -> None:
    logits, target = saturated(200, 0)
    logits[:3] = np.nan
    stored(tmp_path, logits, target)
    record = Record(command="", seed=0)
    for typed in ({"abstain": 0.1, "conformal": None}, {"abstain": None, "conformal": 0.1}):
        with pytest.raises(ConfigError, match="3 validation samples have a stored prediction that is not finite"):
            confidence(tmp_path, record, classification(), "best", **typed)
    numbers = np.where(np.arange(200) < 2, np.nan, 1.0)
    columns = {"sample": [f"{at}" for at in range(200)], "index": np.arange(200), "target": np.ones(200)}
    write(tmp_path, "val", columns | {"predicted": numbers}, ABOUT)
    with pytest.raises(ConfigError, match="2 validation samples have"):
        confidence(tmp_path, record, regression(["age"]), "best", abstain=None, conformal=0.1)


def test_what_has_no_meaning_is_refused(tmp_path: Path) -> None:
    record = Record(command="", seed=0, checkpoints={"best": "checkpoints/best.ckpt", "last": None})
    with pytest.raises(ConfigError, match="abstain needs a run that predicts one class for each sample") as caught:
        confidence(tmp_path, record, regression(["age"]), "best", abstain=0.1, conformal=None)
    assert caught.value.next_step == "leave abstain= out"
    targets = Targets("identities", ["a", "b"], [4, 4])
    settings: dict[str, Any] = {"loss": "supcon", "margin": 0.5, "scale": 64.0, "temperature": 0.07}
    settings |= {"triplet_margin": 0.2, "l1": 0.0, "monitor": "val/recall_1", "mode": "max"}
    embedding = Retrieval(targets, **settings)
    for typed in ({"abstain": 0.1, "conformal": None}, {"abstain": None, "conformal": 0.1}):
        with pytest.raises(ConfigError, match="needs a run that predicts one class for each sample"):
            confidence(tmp_path, record, embedding, "best", **typed)
    record.calibration = {"temperature": 2.5, "samples": 100}
    assert calibrated(record, "best", embedding, "temperature") == (None, "")
    assert embedding.temperature == 0.07
    with pytest.raises(ConfigError, match="which are of the best weights"):
        confidence(tmp_path, record, regression(["age"]), "last", abstain=None, conformal=0.1)


def test_names_with_bars_stay_apart() -> None:
    task: Any = type("Task", (), {"classes": ["a|b", "c"]})()
    found, values = Confidence(task, Threshold(-0.1, 1, 0, 0), 0.2), [torch.tensor([0.3, 0.7])]
    columns = found.columns({"label": ["c"], "probability": ["0.7"]}, values)
    assert columns["set"] == ['["c", "a|b"]']
    assert (columns["label"], columns["guess"]) == ([""], ["c"])
    assert found.outcome(values) == [
        "abstained on 1 of 1 (100%): their label is empty", "sets: 0 empty, 0 of one class, 2.00 classes on average"
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "cell"), [('["x', '["[\\"x"]'), ("", '[""]'), ("a", "a")])
def test_a_set_of_one_class_is_counted_whatever_its_name(name: str, cell: str) -> None:
    task: Any = type("Task", (), {"classes": [name, "c"]})()
    found, values = Confidence(task, set_threshold=0.8), [torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])]
    assert found.columns({}, values)["set"] == [cell, ""]
    assert found.outcome(values) == ["sets: 1 empty, 1 of one class, 0.50 classes on average"]
