"""The predictions that a run leaves: what was scored, sample by sample, in the order of the split."""

import contextlib
import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import frostline
from compared import require_intervals
from conftest import DEVICE, Answer, free_port, short_form
from forked import ran_as_ranks
from frostline.commands.stored_predictions import comparison_of
from frostline.commands.train import NOT_HERE
from frostline.contracts.targets import NO_TAG
from frostline.data.pictures.cifar import read_parquet
from frostline.data.source import every
from frostline.data.split import Split
from frostline.data.texts.tokenized import TokenSource
from frostline.errors import DataError, RunError
from frostline.runs import predictions as files
from frostline.runs.predictions import Predictions, read
from frostline.training.build import build
from frostline.training.chosen_validation import ChosenValidation
from frostline.training.predictions import table_of
from test_resume import STOPPER
from tiny import FEW
from tiny_text import make_tokenizer

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]

QUICK = ["trainer.precision=32-true", "logger=none", "report=false", "callbacks.progress=null", *DEVICE]
QUICK += ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1"]
PICTURES = ["model._target_=tiny.Tiny", "data.image_size=8", *QUICK]
DIGITS = [*PICTURES, "data.train_limit=50"]
# What ranks compute is what one process computes; of the batches, two ranks get 11 and 10 pictures.
SAME = [*PICTURES, *FEW, "data.batch_size=21", "data.augment=none", "optimizer=sgd", "optimizer.lr=0.02"]
SAME += ["schedule.every_phase.norm=frozen", "schedule.every_phase.solve=false"]
TEXTS = ["model=bundled", "model._target_=tiny_text.TinyText", "data.batch_size=8", *QUICK]


def record_of(folder: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "run.json").read_text())
    return content


def trained(program: Program, *overrides: str, folder: str = "run") -> dict[str, Any]:
    answer = program("train", *overrides, f"run_dir={folder}")
    assert answer.code == 0, answer.out + answer.err
    return record_of(folder)


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(1).numpy()


def cross_entropy(found: Predictions) -> float:
    probabilities = softmax(found.columns["logits"])
    return float(-np.log(probabilities[np.arange(len(probabilities)), found.columns["target"]]).mean())


def require_equal(found: Predictions, expected: Predictions) -> None:
    assert found.about == expected.about
    assert found.columns.keys() == expected.columns.keys()
    for name, column in found.columns.items():
        np.testing.assert_array_equal(column, expected.columns[name], err_msg=name)


def _finished(folder: Path, overrides: list[str]) -> Path:
    from frostline.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frostline", "train", *overrides, f"run_dir={folder}"])
        main()
    GlobalHydra.instance().clear()
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of DIGITS, which no test changes."""
    return _finished(tmp_path_factory.mktemp("digits") / "run", DIGITS)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of SAME in one process, which no test changes."""
    return _finished(tmp_path_factory.mktemp("alone") / "run", SAME)


# --- what they say ---


def test_they_are_what_was_scored_in_the_order_of_the_part(digits: Path, composed: Callable[..., Any]) -> None:
    data = build(composed(*DIGITS, "run_dir=none"), logs=False).data
    record = record_of(digits)
    for split, samples in (("val", data.val_split), ("test", data.test_split)):
        found = read(digits, split)
        assert record["predictions"][split] == f"predictions/{split}.parquet"
        assert found.columns["index"].tolist() == samples.index.tolist()
        assert found.columns["sample"].tolist() == [f"picture {index + 1}" for index in samples.index.tolist()]
        assert found.columns["target"].tolist() == samples.labels.tolist()
        assert found.columns["logits"].shape == (len(samples), 10)
        right = found.columns["logits"].argmax(1) == found.columns["target"]
        assert right.mean() == pytest.approx(record["metrics"][f"{split}/accuracy"])
        assert cross_entropy(found) == pytest.approx(found.about["scores"][f"{split}/loss"], rel=1e-5)


def test_validation_scores_as_it_did_when_the_best_weights_were_chosen(digits: Path) -> None:
    record, about = record_of(digits), read(digits, "val").about
    assert about["scores"][record["monitor"]] == pytest.approx(record["metrics"][record["monitor"]], abs=1e-6)
    (best,) = [row["val"] for row in record["phases"] if row["name"] == record["best"]["phase"]]
    assert about["scores"] == pytest.approx(best, rel=1e-5), "of all scores; a phase here has one epoch"


@pytest.mark.parametrize(
    "settings", [["data.augment=none"], ["optimizer.lr=1.0"]], ids=["a late epoch", "an early one"]
)
def test_the_epoch_that_is_chosen_is_not_scored_again(
    settings: list[str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = [*DIGITS, "schedule.phases.all.epochs=3", *settings]
    with monkeypatch.context() as patch:
        patch.setattr(ChosenValidation, "of", lambda self, weights: None)
        trained(program, *longer, folder="again")
    monkeypatch.setattr("lightning.Trainer.validate", None)
    record = trained(program, *longer, folder="once")
    assert (record["best"]["phase"] == "head") is ("optimizer.lr=1.0" in settings)
    for split in ("val", "test"):
        require_equal(read(Path("once"), split), read(Path("again"), split))


def test_the_file_explains_itself(digits: Path) -> None:
    record, found = record_of(digits), read(digits, "test")
    assert found.about["names"] == list("0123456789") == record["data"]["classes"]
    assert (found.about["part"], found.about["task"], found.about["kind"]) == ("test", "Classification", "class")
    assert (found.about["monitor"], found.about["mode"]) == (record["monitor"], record["mode"])
    assert found.about["weights"] == record["best"]
    assert set(found.columns["phase"]) == {record["best"]["phase"]}
    assert {f"test/{name}" for name in ("loss", "accuracy", "n")} < set(found.about["scores"])
    table = pq.read_table(digits / "predictions" / "test.parquet")
    assert table.column_names == ["sample", "index", "target", "logits", "phase"]
    assert str(table.schema.field("logits").type).startswith("fixed_size_list<")


def test_curves_callbacks_and_checkpoints_are_as_without_them(program: Program, digits: Path) -> None:
    counter = "+callbacks.stopper={_target_: test_resume.Stopper}"
    with_them = trained(program, *DIGITS, "logger=tensorboard", counter, folder="with")
    without = trained(program, *DIGITS, "logger=tensorboard", counter, "predictions=false", folder="without")
    assert not Path("without", "predictions").exists()
    assert without["predictions"] == {}
    assert with_them["metrics"] == without["metrics"]
    names = [
        sorted(str(it.relative_to(run)) for it in Path(run).rglob("*") if "tfevents" not in it.name)
        for run in ("with", "without")
    ]
    only = {"predictions/test.parquet", "predictions/val.parquet", "samples/train.digests", "samples/val.digests"}
    assert set(names[0]) - set(names[1]) == only | {"predictions", "samples"}
    assert scalars(Path("with")) == scalars(Path("without"))
    with pytest.raises(RunError, match="no predictions of its split 'val'"):
        read(Path("without"), "val")


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps of each curve, sorted: files of one second are read in the order of their names, not as written."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: sorted(event.step for event in found.Scalars(tag)) for tag in found.Tags()["scalars"]}


def test_the_cache_changes_no_bit_of_them(program: Program) -> None:
    plan = ["schedule=head_only", "schedule.every_phase.solve=false", "data.augment=none"]
    plain = [it for it in DIGITS if not it.startswith("schedule.phases.all")]
    for name in ("never", "always"):
        trained(program, *plain, *plan, f"cache={name}", folder=name)
    for split in ("val", "test"):
        require_equal(read(Path("always"), split), read(Path("never"), split))


def test_limits_of_batches_hold_for_them(program: Program) -> None:
    limits = ["trainer.limit_val_batches=2", "trainer.limit_test_batches=0.5", "data.batch_size=10"]
    record = trained(program, *DIGITS, *limits)
    assert [note.partition(":")[0] for note in record["notes"] if note.startswith("trainer.")] == limits[:2]
    val, test = read(Path("run"), "val"), read(Path("run"), "test")
    assert len(val.columns["index"]) == val.about["scores"]["val/n"] == 20
    assert len(test.columns["index"]) == record["metrics"]["test/n"] < record["data"]["num_test"]
    assert val.about["scores"][record["monitor"]] == pytest.approx(record["metrics"][record["monitor"]], abs=1e-6)


def test_a_mean_of_weights_is_named(program: Program) -> None:
    record = trained(program, *DIGITS, "schedule.average.wise_ft=[0.0]", "optimizer.lr=1.0", "data.augment=none")
    about = read(Path("run"), "val").about
    assert record["best"]["average"] == about["weights"]["average"] == "wise_ft 0"
    assert about["scores"][record["monitor"]] == pytest.approx(record["metrics"][record["monitor"]], abs=1e-6)


def test_without_a_best_checkpoint_they_are_of_the_last_weights(program: Program) -> None:
    record = trained(program, *DIGITS, "callbacks.best=null")
    about = read(Path("run"), "val").about
    assert about["weights"] == {"phase": "all", "epoch": None, "average": None}
    assert about["scores"] == pytest.approx(record["phases"][-1]["val"], rel=1e-5)


# --- where they are not written ---


def test_more_than_the_limit_are_not_written_and_reported_once(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning.Trainer.validate", None)  # a rank alone above the limit must not begin another pass
    answer = program("train", *DIGITS, "predictions_max_gigabytes=1e-5", "run_dir=run")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.err.splitlines() if "predictions" in line]
    assert "predictions of test (2.01e-05 GB) are not written" in line  # 359 rows of 10 floats and two whole numbers
    assert "predictions_max_gigabytes=1e-05; 0.1 would be enough" in line
    assert list(record_of("run")["predictions"]) == ["val"]
    assert [file.name for file in Path("run", "predictions").iterdir()] == ["val.parquet"]
    answer = program("train", *DIGITS, "predictions_max_gigabytes=1e-6", "run_dir=smaller")
    assert answer.code == 0, answer.err
    assert record_of("smaller")["predictions"] == {}


def test_a_full_disk_costs_the_predictions_and_not_the_run(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    answer = program("train", *DIGITS, "run_dir=run")
    assert answer.code == 0, answer.err
    assert "predictions of test are not written: No space left on device" in answer.err
    record = record_of("run")
    assert (record["status"], record["predictions"]) == ("finished", {})
    assert list(Path("run", "predictions").iterdir()) == []


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    file = tmp_path / "predictions" / "val.parquet"
    columns = {"sample": ["a"], "index": np.array([0])}
    files.write(tmp_path, "val", columns, {})
    assert read(tmp_path, "val").columns["sample"].tolist() == ["a"]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RunError, match="cannot be read") as damaged:
        read(tmp_path, "val")
    assert damaged.value.where == file


def test_columns_of_every_type_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Arrow stores a bit for a bool, NumPy a byte."""
    columns: dict[str, Any] = {
        "flag": np.arange(19) % 3 == 0,
        "index": np.arange(19),
        "rows": np.arange(38, dtype=np.float32).reshape(19, 2),
        "sample": [f"é{place}" for place in range(19)],
    }
    files.write(tmp_path, "val", columns, {})
    found = read(tmp_path, "val").columns
    assert found["flag"].dtype == bool
    for name, values in columns.items():
        assert np.array_equal(found[name], values), name


def test_writing_and_reading_need_neither_torch_nor_pandas(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from frostline.runs.predictions import read, write\n"
        "columns = {'sample': ['größer', ''], 'index': np.arange(2)}\n"
        "columns['logits'] = np.arange(6, dtype=np.float32).reshape(2, 3)\n"
        "write(Path(), 'val', columns | {'right': np.array([False, True])}, {})\n"
        "found = read(Path(), 'val').columns; print(*(column.tolist() for column in found.values()))\n"
        "print({'torch', 'pandas'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout == "['größer', ''] [0, 1] [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] [False, True]\nset()\n"
    nothing = {"sample": [], "index": np.zeros(0, int), "logits": np.zeros((0, 2), np.float32)}
    files.write(tmp_path, "test", nothing, {})
    assert read(tmp_path, "test").columns["logits"].shape == (0, 2)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"index": None}, "there is no column 'index'"),
        ({"sample": None}, "there is no column 'sample'"),
        ({"target": np.array([0, 3])}, "a target is none of the classes"),
        ({"target": np.array([0, -1])}, "a target is none of the classes"),
        ({"target": ["a", "b"]}, "a target is none of the classes"),
    ],
)
def test_rows_without_samples_or_of_other_classes_are_an_error(
    changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    columns = {
        "sample": ["a", "b"],
        "index": np.arange(2),
        "target": np.arange(2),
        "logits": np.ones((2, 3), np.float32),
    }
    files.write(tmp_path, "val", {name: it for name, it in (columns | changes).items() if it is not None}, {})
    with pytest.raises(RunError, match=what):
        read(tmp_path, "val")


def test_a_table_of_others_is_an_error(tmp_path: Path) -> None:
    import pyarrow as pa

    (tmp_path / "predictions").mkdir()
    pq.write_table(pa.table({"sample": ["a"]}), tmp_path / "predictions" / "val.parquet")
    with pytest.raises(RunError, match="cannot be read"):
        read(tmp_path, "val")


@pytest.mark.parametrize("of", ["predictions", "pictures"])
def test_no_thread_holds_a_file_that_was_read(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that frees Python's memory while the interpreter ends aborts the process, though rarely."""
    import pyarrow as pa

    file = tmp_path / files.file_of("val")
    file.parent.mkdir()
    pq.write_table(pa.table({"sample": ["a"]}), file)  # is refused as soon as it is read
    reading = {"predictions": lambda: read(tmp_path, "val"), "pictures": lambda: read_parquet(file)}[of]
    content = file.read_bytes()
    monkeypatch.setattr(Path, "read_bytes", lambda _: content)
    before, held = sys.getrefcount(content), 0
    for _ in range(500):
        with contextlib.suppress(RunError, DataError):
            reading()
        held += sys.getrefcount(content) > before
    assert not held


# --- runs that go on, and sweeps ---


def test_a_run_that_was_stopped_while_it_was_tested_writes_them_when_it_goes_on(
    program: Program, monkeypatch: pytest.MonkeyPatch, digits: Path
) -> None:
    monkeypatch.setenv("STOP_AT", f"test 2 {int(signal.SIGTERM)}")
    assert program("train", *DIGITS, STOPPER, "run_dir=run").code == 128 + signal.SIGTERM
    assert record_of("run")["predictions"] == {}
    assert not Path("run", "predictions").exists()
    monkeypatch.delenv("STOP_AT")
    assert program("train", "resume=run", "trust=true").code == 0
    for split in ("val", "test"):
        require_equal(read(Path("run"), split), read(digits, split))


def test_a_finished_run_keeps_its_own(digits: Path, program: Program) -> None:
    before = {file: file.read_bytes() for file in (digits / "predictions").iterdir()}
    assert program("train", f"resume={digits}", "trust=true").code == 1
    assert program("evaluate", f"run={digits}", "trust=true").code == 0
    assert {file: file.read_bytes() for file in (digits / "predictions").iterdir()} == before


def test_an_evaluation_is_compared_with_them(digits: Path, program: Program, tmp_path: Path) -> None:
    answer = program("evaluate", f"run={digits}", "trust=true")
    assert "predictions  all 359 agree with the stored ones" in answer.out
    run = shutil.copytree(digits, tmp_path / "changed")
    answer = program("evaluate", f"run={run}", "trust=true", "checkpoint=last")
    (file,) = (run / "predictions" / "evaluated").iterdir()
    assert f"predictions  {file}\n" in answer.out, "beside those of the best weights"
    assert file.stem.endswith("-last")
    stored = read(run, "test")
    stored.columns["logits"][7, 3] += 0.5
    texts = {name: [*stored.columns[name]] for name in ("sample", "phase")}
    about = {name: value for name, value in stored.about.items() if name not in ("schema", "part")}
    files.write(run, "test", stored.columns | texts, about)
    answer = program("evaluate", f"run={run}", "trust=true")
    assert "predictions  1 of 359 differ from the stored ones, by up to 0.5" in answer.out
    (run / "predictions" / "test.parquet").write_bytes(b"PAR1")
    answer = program("evaluate", f"run={run}", "trust=true")
    assert answer.code == 0
    assert "predictions  not compared with the stored predictions: the predictions cannot be read" in answer.out


def test_outputs_are_compared_row_by_row() -> None:
    def said(**columns: Any) -> str:
        own = {"sample": ["a", "b"], "index": np.array([0, 1]), "target": np.array([1, 0])} | columns
        return comparison_of(own, {"index": np.array([0, 1]), "target": np.array([1, 0]), "logits": old})

    old = np.array([[1.0, np.nan], [3.0, 4.0]], np.float32)
    assert said(logits=old.copy()) == "all 2 agree with the stored ones"
    others = {"slice:site": ["x", "y"], "loss": np.zeros(2)}  # no outputs, and one that an earlier version stored not
    assert said(logits=old.copy(), **others) == "all 2 agree with the stored ones"
    assert said(logits=old + np.array([[0], [0.25]])) == "1 of 2 differ from the stored ones, by up to 0.25"
    assert said(logits=np.nan_to_num(old)) == "1 of 2 differ from the stored ones, by up to inf"
    assert said(logits=old[:, :1]) == "the stored predictions have outputs of another shape"
    assert said(logits=old, index=np.array([1, 0])) == "the stored predictions are of other samples or targets"
    assert said(logits=old, target=np.array([1, 1])) == "the stored predictions are of other samples or targets"
    assert said(numbers=old) == "the stored predictions are of other samples or targets"


@pytest.mark.long
def test_each_run_of_a_sweep_has_its_own(program: Program) -> None:
    answer = program("train", "-m", *DIGITS, "seed=0,1", "sweep.test=all", "hydra.sweep.dir=sweep")
    assert answer.code == 0, answer.err
    logits = [read(Path("sweep", job), "test").columns["logits"] for job in ("0", "1")]
    assert logits[0].shape == logits[1].shape == (359, 10)
    assert not np.array_equal(*logits)


@pytest.mark.process
@pytest.mark.parametrize("strategy", short_form(["ddp", "fsdp"], "ddp"))
def test_several_ranks_write_what_one_process_writes(strategy: str, alone: Path, tmp_path: Path) -> None:
    ranks = [f"trainer={strategy}", "trainer.accelerator=cpu", "trainer.devices=2", "run_dir=ranks"]
    ran_as_ranks(2, free_port(), "-m", "frostline", "train", *SAME, *ranks, cwd=tmp_path)
    for split in ("val", "test"):
        found, expected = read(tmp_path / "ranks", split), read(alone, split)
        assert found.about["weights"] == expected.about["weights"]
        for name in ("sample", "index", "target", "phase"):
            assert found.columns[name].tolist() == expected.columns[name].tolist()
        np.testing.assert_allclose(found.columns["logits"], expected.columns["logits"], rtol=1e-3, atol=1e-4)


# --- other targets ---


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """60 pictures, each third of which stands in two lines."""
    rows = []
    (tmp_path / "pictures").mkdir()
    for number in range(60):
        level = 255 if number % 2 else 40
        Image.new("L", (8, 8), level - number % 7).save(tmp_path / "pictures" / f"{number}.png")
        row = [f"pictures/{number}.png", str(number % 2), str(int(number % 3 == 0)), str(number), str(level)]
        rows += [row] * (1 + (number % 3 == 0))
    with (tmp_path / "it.csv").open("w") as file:
        csv.writer(file).writerows([["path", "bright", "third", "number", "level"], *rows])
    return tmp_path / "it.csv"


def cells(table: Path, *names: str) -> dict[str, list[float]]:
    """By the path of the picture."""
    with table.open() as file:
        return {str(table.parent / row["path"]): [float(row[name]) for name in names] for row in csv.DictReader(file)}


def test_labels_and_lines_that_repeat_a_picture(program: Program, table: Path) -> None:
    columns = ["bright", "third"]
    typed = ["data=image_csv", f"data.file={table}", f"data.target_columns=[{','.join(columns)}]"]
    record = trained(program, *PICTURES, "task=multi_label", *typed)
    said, seen = cells(table, *columns), []
    for split in ("val", "test"):
        found = read(Path("run"), split)
        seen += found.columns["sample"].tolist()
        assert found.columns["target"].tolist() == [said[path] for path in found.columns["sample"]]
        exact = ((found.columns["logits"] > 0) == (found.columns["target"] > 0)).all(1).mean()
        assert exact == pytest.approx(found.about["scores"][f"{split}/exact_match"])
    assert len(seen) == len(set(seen)) == record["data"]["num_val"] + record["data"]["num_test"]
    require_intervals(record)


def test_numbers_are_in_the_unit_of_the_targets(program: Program, table: Path) -> None:
    typed = ["data=image_csv", f"data.file={table}", "data.target_columns=[number,level]"]
    trained(program, *PICTURES, "task=regression", *typed)
    said = cells(table, "number", "level")
    for split in ("val", "test"):
        found = read(Path("run"), split)
        assert found.about["names"] == ["number", "level"]
        assert found.columns["target"].tolist() == [said[path] for path in found.columns["sample"]]
        error = np.abs(found.columns["predicted"] - found.columns["target"]).mean()
        assert error == pytest.approx(found.about["scores"][f"{split}/mae"], rel=1e-5)
    require_intervals(record_of("run"))
    opened = frostline.open("run", trust=True)
    pictures = torch.randint(0, 256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    predicted = torch.stack([it.values for it in opened.predict(pictures)])
    assert opened.module(pictures).numpy() == pytest.approx(predicted.numpy(), rel=1e-5)


def test_texts_are_known_by_file_and_line(program: Program, tmp_path: Path) -> None:
    rows = [["aa ab " * (1 + n % 7), "yes"] if n % 2 else ["kl la " * (1 + n % 5), "no"] for n in range(60)]
    with (tmp_path / "it.csv").open("w") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    weights = f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}"
    trained(program, *TEXTS, weights, "data=text_csv", "data.train_file=it.csv")
    found = read(Path("run"), "test")
    for sample, index, target in zip(*(found.columns[it] for it in ("sample", "index", "target")), strict=True):
        assert sample == f"it.csv, line {index + 2}", "as it was typed"
        assert found.about["names"][target] == rows[index][1]
    right = found.columns["logits"].argmax(1) == found.columns["target"]
    assert right.mean() == pytest.approx(record_of("run")["metrics"]["test/accuracy"])


def test_words_have_a_row_each_also_those_that_were_cut_off(program: Program, tmp_path: Path) -> None:
    sentences = [[("aa", "B-x"), ("bb", "I-x"), *[("kl", "O")] * (n % 9)] for n in range(60)]
    lines = ["\n".join(f"{word}\t{tag}" for word, tag in words) for words in sentences]
    (tmp_path / "it.conll").write_text("\n\n".join(lines) + "\n")
    weights = f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}"
    typed = ["task=token_classification", "data=conll", "data.train_file=it.conll", "data.max_length=8"]
    record = trained(program, *TEXTS, weights, *typed)
    for split in ("val", "test"):
        found, rows = read(Path("run"), split), {}
        for index, word, target, logits in zip(
            *(found.columns[it] for it in ("index", "word", "target", "logits")), strict=True
        ):
            rows.setdefault(index, []).append((word, found.about["names"][target], bool(np.isnan(logits).any())))
        assert len(rows) == record["data"][f"num_{split}"]
        for index, words in rows.items():  # 8 tokens, two of them special
            tags = [tag for _, tag in sentences[index]]
            assert words == [(place, tag, place >= 6) for place, tag in enumerate(tags)]
        assert any(len(words) > 6 for words in rows.values())
        seen = ~np.isnan(found.columns["logits"]).any(1)
        right = found.columns["logits"][seen].argmax(1) == found.columns["target"][seen]
        assert right.mean() == pytest.approx(found.about["scores"][f"{split}/accuracy"])
    require_intervals(record)


def test_rows_of_words_are_sorted_whatever_the_order_of_their_scoring() -> None:
    """Two texts of four words, in a split that has the second one first: the first and last word of one are cut off,
    and its third left no token."""
    cut = torch.tensor([[2, 0, -1], [5, 0, 1], [3, 0, -1]])
    whole = torch.tensor([[5, 0, 0], [5, 0, 1], [5, 0, 2], [5, 0, 3]])
    labels = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    source = TokenSource.of([cut, whole], labels, tagged=True)
    assert source.words_of(0).tolist() == [1, 0, 2, 3]
    targets = source.targets(every(source))
    assert targets[0][targets[0] != NO_TAG].tolist() == [1, 0, 2, 3], "the order of the words is that of the targets"
    columns = {"index": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), "target": torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])}
    made = table_of(columns, Split(source, torch.tensor([1, 0])))
    assert made["index"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert made["word"].tolist() == [0, 1, 2, 3] * 2
    assert made["target"].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert made["sample"][0] == "sample 2"


def test_masks_are_counted(program: Program, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(16):
        height, width = 32 + 8 * (number % 2), 40
        mask = np.zeros((height, width), np.uint8)
        mask[:, : generator.integers(5, 30)] = 1
        mask[:3] = 255
        for folder, values in (("images", np.where(mask == 1, 200, 30).astype(np.uint8)), ("masks", mask)):
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / "in" / folder / f"{number}.png")
    typed = [
        "task=segmentation",
        "head=unet",
        "head.channels=[8]",
        "data=image_masks",
        f"data.dir={tmp_path / 'in'}",
        "data.batch_size=4",
    ]
    trained(program, *QUICK, *typed, "data.image_size=32")
    for split in ("val", "test"):
        found = read(Path("run"), split)
        for path, *counts in zip(*(found.columns[it] for it in ("sample", "target", "predicted")), strict=True):
            mask = np.asarray(Image.open(tmp_path / "in" / "masks" / Path(path).name))
            assert counts[0].tolist() == [int((mask == 0).sum()), int((mask == 1).sum())]
            assert counts[1].sum() == (mask != 255).sum()
        target, predicted, right = (found.columns[it].sum(0) for it in ("target", "predicted", "right"))
        iou = right / (target + predicted - right)
        assert iou.mean() == pytest.approx(found.about["scores"][f"{split}/iou"], rel=1e-5)
    require_intervals(record_of("run"))


def test_a_run_records_an_interval_of_each_test_score(small_run: Path) -> None:
    record = record_of(small_run)
    require_intervals(record)
    for name, found in record["intervals"].items():
        assert 0 <= found["low"] < record["metrics"][name] < found["high"], name
        assert (found["units"], found["unit"], found["caution"]) == (359, "sample", "")
