"""Whole runs in this process, on the digits: what they leave, and that numbers come again."""

import csv
import json
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import nn

from conftest import ASIDE, DEVICE, Answer, short_form
from frostline.backbones.base import Backbone
from frostline.cli.main import main
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.data.sample_cache import NOWHERE
from frostline.runs.record import Record
from tiny import CHAIN, FEW, Tiny

# A second: the bundled network, 200 digits of a quarter of its size, two epochs a phase, float32.
SHORT = ["data.train_limit=200", "data.batch_size=50", "data.image_size=8", *DEVICE, "trainer.precision=32-true"]
SHORT += ["schedule.phases.head.epochs=2", "schedule.every_phase.solve=false", "schedule.phases.all.epochs=2"]
LOGGED = [*SHORT]
SHORT += ["logger=none", *ASIDE]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of LOGGED."""
    return _train(tmp_path_factory.mktemp("finished") / "run", short=LOGGED)


def _train(folder: Path, *overrides: str, short: Sequence[str] = SHORT) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frostline", "train", *short, f"run_dir={folder}", *overrides])
        main()
    GlobalHydra.instance().clear()
    return folder


def _record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def test_a_run_leaves_what_the_house_promises(finished: Path) -> None:
    folders = {"checkpoints", "predictions", "samples", "tensorboard", "report.html", "README.md"}
    assert {path.name for path in finished.iterdir()} == {"config.yaml", "run.json", *folders}
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_run_json_says_all(finished: Path) -> None:
    record = _record(finished)
    assert record["schema"] == 1
    assert (record["status"], record["error"], record["seed"]) == ("finished", None, 0)
    assert record["command"].startswith("frostline train data.train_limit=200")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    data = record["data"]
    assert (data["name"], data["num_train"], data["num_val"], data["num_test"]) == ("digits", 200, 143, 359)
    assert data["classes"] == [str(digit) for digit in range(10)]
    assert data["fingerprint"]
    assert record["model"]["name"] == "bundled"
    assert "bundled.safetensors" in record["model"]["weights"]
    assert record["checkpoints"] == {"best": "checkpoints/best.ckpt", "last": "checkpoints/last.ckpt"}
    assert record["peak_memory_bytes"] > 100e6
    seconds = record["seconds"]
    assert list(seconds) == ["setup", "fit", "test", "total", "predictions"]
    assert seconds["total"] == pytest.approx(sum(seconds.values()) - seconds["total"])
    metrics = record["metrics"]
    assert metrics["test/n"] == 359
    assert {"val/accuracy", "test/accuracy", "test/accuracy_top5", "test/f1_macro", "test/loss"} <= set(metrics)
    assert [row["class"] for row in record["per_class"]] == data["classes"]
    assert sum(row["n"] for row in record["per_class"]) == 359


def test_a_dry_run_says_what_there_is_to_learn_from(program: Callable[..., Answer]) -> None:
    answer = program("train", *SHORT, "dry_run=true")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if line.startswith("data")]
    pictures = "200 train, 143 val, 359 test pictures of 8 × 8 pixels, 50 a batch"
    assert line == f"data  {pictures}; 10 classes, the most frequent '0' (10 %)"


@pytest.mark.parametrize(
    ("overrides", "noted"),
    [
        (["model.weights=null"], True),
        (["model.weights=null", "schedule=full"], False),
        ([], False),
    ],
)
def test_a_frozen_random_network_is_noted(overrides: list[str], noted: bool, program: Callable[..., Answer]) -> None:
    answer = program("train", *[split for split in SHORT if "phases" not in split], *overrides, "dry_run=true")
    assert answer.code == 0, answer.err
    note = "  phase head: a frozen random network (model.weights=null); schedule=full trains all of it\n"
    assert (note in answer.out) == noted
    assert ("random network" in answer.out) == noted


def test_a_row_for_each_phase_says_what_learned(finished: Path) -> None:
    head, everything = _record(finished)["phases"]
    assert (head["name"], head["thaw"], head["learns"], head["epochs"]) == ("head", "none", ["head"], 2)
    assert head["trainable_parameters"] == 208 * 10 + 10
    assert head["learning_rates"] == {"head": 2e-3, "head/no_decay": 2e-3}
    assert everything["learns"] == ["head", "stage3", "stage2", "stage1", "stem"]
    assert everything["trainable_parameters"] == _record(finished)["model"]["parameters"]
    assert everything["learning_rates"]["head"] == pytest.approx(6e-4), "0.3 of the rate: it has batch norms"
    assert everything["learning_rates"]["stem"] == pytest.approx(6e-4 * 0.8**4)
    assert (head["cached"], everything["cached"]) == (True, False)
    assert head["cache"]["bytes"] == 4 * 208 * (head["cache"]["made"] + head["cache"]["found"])
    for row in (head, everything):
        assert row["seconds"] > 0
        assert row["samples_per_second"] > 0
        assert row["val"]["val/n"] == 143


def test_the_head_phase_leaves_the_backbone_as_it_was(tmp_path: Path) -> None:
    from frostline.backbones.bundled import BundledBackbone

    folder = _train(tmp_path / "run", *FEW, "schedule.phases.all=null", "optimizer.lr=0.1")
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    before = BundledBackbone(weights="bundled").state_dict()
    assert before
    for name, value in before.items():
        assert torch.equal(state[f"backbone.{name}"], value), name


def test_the_same_command_twice_gives_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    again = _train(tmp_path / "again")
    assert _record(again)["metrics"] == _record(finished)["metrics"]
    assert _record(again)["per_class"] == _record(finished)["per_class"]
    first, second = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (finished, again))
    for name, value in first["state_dict"].items():
        assert torch.equal(second["state_dict"][name], value), name


@pytest.mark.long
def test_another_seed_gives_other_numbers_on_the_same_test_part(finished: Path, tmp_path: Path) -> None:
    other = _record(_train(tmp_path / "other", "seed=1"))
    assert other["data"]["fingerprint"] == _record(finished)["data"]["fingerprint"]
    assert other["metrics"]["test/loss"] != _record(finished)["metrics"]["test/loss"]
    assert [row["n"] for row in other["per_class"]] == [row["n"] for row in _record(finished)["per_class"]]


def test_evaluate_gives_the_very_same_numbers(finished: Path, composed: Callable[..., Any]) -> None:
    from frostline.commands.evaluate import evaluate
    from frostline.runs.folder import read_run

    scores = evaluate(composed(f"run={finished}", config="evaluate"), *read_run(finished))
    expected = {name: value for name, value in _record(finished)["metrics"].items() if name.startswith("test/")}
    assert scores == expected


def test_evaluate_refuses_other_data(finished: Path, tmp_path: Path, program: Callable[..., Answer]) -> None:
    record = _record(finished)
    record["data"]["fingerprint"] = "of other data"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    (tmp_path / "run" / "config.yaml").write_text((finished / "config.yaml").read_text())
    answer = program("evaluate", "run=run")
    assert answer.code == 1
    assert "not the data that the run was trained and tested on" in answer.err


def test_predict_writes_label_probability_and_top_k(
    finished: Path, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    from frostline.data.pictures.digits import Digits
    from frostline.data.target_types.find import target_type

    pixels = Digits().read(target_type("class"), None).train.pixels
    (tmp_path / "in" / "below").mkdir(parents=True)
    for number in range(6):
        picture = Image.fromarray(pixels[number].permute(1, 2, 0).numpy())
        picture.save(tmp_path / "in" / ("below" if number % 2 else ".") / f"{number}.png")
    answer = program("predict", f"run={finished}", "input=in", "output=out.csv", "top_k=3", "batch_size=4")
    assert answer.code == 0, answer.err
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "probability", "label_2", "probability_2", "label_3", "probability_3"]
    assert sorted(row["file"] for row in rows) == sorted(str(p) for p in Path("in").rglob("*.png"))
    for row in rows:
        first, second, third = (float(row[name]) for name in ("probability", "probability_2", "probability_3"))
        assert 1 >= first >= second >= third >= 0
        assert {row["label"], row["label_2"], row["label_3"]} <= {str(digit) for digit in range(10)}
    one = rows[0]
    answer = program("predict", f"run={finished}", f"input={one['file']}", "output=one.csv", "top_k=3")
    assert answer.code == 0, answer.err
    with (tmp_path / "one.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["label"]) == (one["file"], one["label"])
    assert float(row["probability"]) == pytest.approx(float(one["probability"]), abs=1e-5)
    told = [line.split() for line in answer.out.splitlines()]
    assert told == [["1", "prediction", "in", "one.csv"], *([name, value] for name, value in row.items())]


@pytest.mark.parametrize("number", [1, 2])
def test_predictions_without_a_file_are_printed(
    finished: Path, tmp_path: Path, program: Callable[..., Answer], number: int
) -> None:
    (tmp_path / "in").mkdir()
    for one in range(number):
        Image.new("RGB", (9, 9), (100 * one, 0, 0)).save(tmp_path / "in" / f"{one}.png")
    answer = program("predict", f"run={finished}", "input=in")
    assert answer.code == 0, answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    written = program("predict", f"run={finished}", "input=in", "output=out.csv")
    assert written.code == 0, written.err
    assert answer.out == (tmp_path / "out.csv").read_text()


def test_run_json_is_whole_after_every_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, bool]] = []
    write = Record.write

    def noted(self: Record, folder: Path) -> None:
        write(self, folder)
        told = _record(folder)
        seen.append((told["status"], len(told["phases"]), "test/accuracy" in told["metrics"]))

    monkeypatch.setattr(Record, "write", noted)
    _train(tmp_path / "run", *CHAIN)
    assert seen == [("running", 0, False), ("running", 1, False), ("running", 2, False), ("finished", 2, True)]


def test_predict_answers_for_the_pictures_that_it_can_read_and_names_the_others(
    finished: Path, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        Image.new("RGB", (9, 9), (50 * number, 0, 0)).save(tmp_path / "in" / f"{number}.png")
    whole = program("predict", f"run={finished}", "input=in", "batch_size=2").out.splitlines()
    (tmp_path / "in" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (tmp_path / "in" / "4.png").write_bytes(b"")
    answer = program("predict", f"run={finished}", "input=in", "output=out.csv", "batch_size=2")
    assert answer.code == 1
    assert "2 pictures cannot be read; the other 3 have predictions:" in answer.err
    assert all(name in answer.err for name in ("in/1.png: ", "in/4.png: "))
    assert (tmp_path / "out.csv").read_text().splitlines() == [whole[0], whole[1], whole[3], whole[4]]


def test_predict_reads_a_table_of_pictures(finished: Path, tmp_path: Path, program: Callable[..., Answer]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGB", (9, 9), (90 * number, 0, 0)).save(tmp_path / "in" / f"{number}.png")
    alone = program("predict", f"run={finished}", "input=in", "top_k=1").out.splitlines()[1:]
    lines = [",file,label", "0,2.png,mine", "1,none.png,x", "2,0.png,", "3,torn.png,x", ",,"]
    (tmp_path / "in" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (tmp_path / "in" / "list.csv").write_text("\n".join(lines) + "\n")
    answer = program("predict", f"run={finished}", "input=in/list.csv", "output=out.csv", "top_k=1")
    assert answer.code == 1
    assert "3 pictures cannot be read; the other 2 have predictions:" in answer.err
    for place, what in (("3", "there is no such picture"), ("5)", "does not decode"), ("6", "only separators")):
        assert re.search(rf"list.csv, line {re.escape(place)}: .*{what}", answer.err), answer.err
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        ",file,label (input),label,probability",
        f"0,2.png,mine,{alone[2].partition(',')[2]}",
        f"2,0.png,,{alone[0].partition(',')[2]}",
    ]


def test_predict_is_told_which_column_of_a_table_names_pictures(
    finished: Path, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "1.png")
    (tmp_path / "list.csv").write_text("id,my shot\n7,1\n")
    answer = program("predict", f"run={finished}", "input=list.csv")
    assert answer.code == 1
    assert "no column is named path, file, filename, image; the columns are id, my shot" in answer.err
    assert "data.path_column=id, or another column" in answer.err
    typed = ["data.path_column='my shot'", "data.suffix=.png"]
    answer = program("predict", f"run={finished}", "input=list.csv", *typed)
    assert answer.code == 1
    assert "there is no such picture" in answer.err
    answer = program("predict", f"run={finished}", "input=list.csv", *typed, "data.dir=in", "top_k=1")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0] == "id,my shot,label,probability"
    answer = program("predict", f"run={finished}", "input=list.csv", "data.path_column=[id]")
    assert (answer.code, "data.path_column is text" in answer.err) == (1, True)


@pytest.mark.parametrize("typed", ["text=hello", "input=-", "input=a.txt"])
def test_predict_tells_a_run_of_pictures_what_it_takes(
    finished: Path, tmp_path: Path, program: Callable[..., Answer], typed: str
) -> None:
    (tmp_path / "a.txt").write_text("hello\n")
    answer = program("predict", f"run={finished}", typed)
    assert answer.code == 1
    assert "this run takes pictures" in answer.err
    assert "or a table (.csv, .tsv, .jsonl, .parquet) of their paths" in answer.err


def test_predict_leaves_no_file_where_no_picture_can_be_read(
    finished: Path, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    answer = program("predict", f"run={finished}", "input=in", "output=out.csv")
    assert answer.code == 1
    assert "in/torn.png" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_tensorboard_shows_loss_metrics_rates_phases_and_throughput(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/loss_step", "train/loss_epoch", "val/loss", "val/accuracy", "val/f1_macro"} <= scalars
    assert {"phase", "throughput/samples_per_second", "test/accuracy"} <= scalars
    assert {name for name in scalars if name.startswith("lr")} == {
        f"lr/{block}" for block in ("head", "stem", "stage1", "stage2", "stage3")
    }
    assert {"final/test/accuracy", "final/val/accuracy"} <= scalars
    started = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    shown = started.session_start_info.hparams
    assert (shown["model"].string_value, shown["optimizer.lr"].number_value) == ("bundled", 2e-3)
    # By step, as TensorBoard draws them: of files, each phase's own, the tenth of a process is read before the ninth.
    in_order = sorted(events.Scalars("phase"), key=lambda event: event.step)
    assert [event.value for event in in_order] == [0, 0, 1, 1]
    steps = sorted(event.step for event in events.Scalars("train/loss_epoch"))
    assert steps == [3, 7, 11, 15], "the axis goes on through both phases"


def test_a_run_that_fails_says_so_in_run_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the loss exploded")

    monkeypatch.setattr("frostline.tasks.classification.Classification.loss", explode)
    with pytest.raises(RuntimeError, match="the loss exploded"):
        _train(tmp_path / "run")
    record = _record(tmp_path / "run")
    assert record["status"] == "failed"
    assert record["error"] == {"type": "RuntimeError", "message": "the loss exploded"}


@pytest.mark.parametrize("broken_epoch", short_form([0, 1, 2, 3], 2))
def test_an_interrupted_run_resumes_in_its_folder(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., Answer], broken_epoch: int
) -> None:
    """Stopped at an epoch's end, before its checkpoint, in either phase: what follows is as if it had not been."""
    from frostline.training.callbacks.measure import Measure

    original = Measure.on_train_epoch_end

    def stop(self: Measure, trainer: Any, model: Any) -> None:
        if trainer.current_epoch == broken_epoch:
            raise RuntimeError("the machine went down")
        original(self, trainer, model)

    with monkeypatch.context() as patch:
        patch.setattr(Measure, "on_train_epoch_end", stop)
        with pytest.raises(RuntimeError, match="the machine went down"):
            _train(tmp_path / "run")
    answer = program("train", "resume=run", "trust=true")
    assert answer.code == 0, answer.err
    trained_again = [line for line in answer.out.splitlines() if "val/loss" in line]
    assert len(trained_again) == 4 - broken_epoch, "the epochs before were not trained again"
    record = _record(tmp_path / "run")
    assert record["status"] == "finished"
    assert [(row["name"], row["epochs"]) for row in record["phases"]] == [("head", 2), ("all", 2)]
    assert record["metrics"] == _record(finished)["metrics"]


def test_a_finished_run_is_not_resumed(finished: Path, program: Callable[..., Answer]) -> None:
    answer = program("train", f"resume={finished}", "trust=true")
    assert answer.code == 1
    assert "finished" in answer.err


@pytest.mark.long
def test_a_run_without_its_best_says_how_it_is_scored(tmp_path: Path, program: Callable[..., Answer]) -> None:
    """And what it says next, typed as it stands, does so."""
    quick = ["schedule=head_only", "schedule.phases.head.epochs=1", "logger=none", "trainer=debug"]
    answer = program("train", *quick, "callbacks.best=null", "run_dir=run")
    assert "evaluate run=run checkpoint=last\n" in answer.out
    refused = program("evaluate", "run=run")
    assert "next:  checkpoint=last" in refused.err
    assert program("evaluate", "run=run", "checkpoint=last").code == 0


def test_a_second_run_in_the_same_folder_gets_its_own(tmp_path: Path) -> None:
    overrides = ["schedule=head_only", "schedule.phases.head.epochs=1", "logger=none", *CHAIN]
    for _ in range(2):
        _train(tmp_path / "run", *overrides, short=DEVICE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]


def test_patience_ends_a_phase_and_the_next_goes_on(tmp_path: Path) -> None:
    """A rate too small to change a prediction: the score stands still, so a phase ends after 1 + patience epochs."""
    overrides = ["optimizer.lr=1e-12", "optimizer.weight_decay=0", "data.augment=none", "schedule.phases.all.thaw=none"]
    overrides += [f"schedule.phases.{name}.epochs=9" for name in ("head", "all")]
    folder = _train(tmp_path / "run", *FEW, *overrides, "schedule.every_phase.until.patience=1")
    assert [row["epochs"] for row in _record(folder)["phases"]] == [2, 2]


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.augment=strong", "task.label_smoothing=0.1", "optimizer.lr=0.01"],
        pytest.param(["head=mlp", "head.hidden=[1024]", "head.dropout=0.0", "optimizer=adam"], marks=pytest.mark.long),
        ["task.class_weights=balanced", "task.l1=1e-5", "optimizer=sgd", "optimizer.lr=0.05"],
        pytest.param(
            [
                "trainer.precision=bf16-mixed",
                "trainer.accumulate_grad_batches=2",
                "trainer.gradient_clip_val=1.0",
                "optimizer.lr=0.02",
            ],
            marks=pytest.mark.long,
        ),
    ],
)
def test_options_train(overrides: list[str], tmp_path: Path) -> None:
    record = _record(_train(tmp_path / "run", *overrides))
    assert record["status"] == "finished"
    assert record["metrics"]["test/accuracy"] > 0.2, "better than chance among ten classes"


def test_accumulated_gradients_leave_half_the_steps(tmp_path: Path) -> None:
    folder = _train(tmp_path / "run", *CHAIN, "trainer.accumulate_grad_batches=2")
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4 * 2


def test_own_callbacks_and_models_come_from_a_folder_of_yaml(tmp_path: Path, program: Callable[..., Answer]) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "tiny.yaml").write_text("_target_: test_run.TinyBackbone\nwidth: 4\n")
    answer = program("train", "--config-dir", "mine", "model=tiny", *SHORT, "run_dir=run")
    assert answer.code == 0, answer.err
    assert _record(tmp_path / "run")["model"]["name"] == "tiny"


def test_a_text_backbone_refuses_pictures(tmp_path: Path, program: Callable[..., Answer]) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "reader.yaml").write_text("_target_: test_run.TextBackbone\n")
    answer = program("train", "--config-dir", "mine", "model=reader")
    assert answer.code == 1
    assert "this backbone takes texts, but this data is pictures" in answer.err


@pytest.mark.long
def test_pictures_give_the_same_numbers_kept_in_memory_and_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        folder = tmp_path / "pictures" / ("dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        grey = 60 * (1 - number % 2) + 2 * number
        Image.new("RGB", (40 + number, 50), (grey, grey, 90)).save(folder / f"{number}.png")
    overrides = ["data=image_folder", f"data.dir={tmp_path / 'pictures'}", "data.num_workers=2", "data.batch_size=8"]
    short = [split for split in SHORT if not split.startswith("data.")]
    kept = _record(_train(tmp_path / "kept", *overrides, short=short))
    monkeypatch.setattr("frostline.training.build.SampleCache", lambda *_, **__: NOWHERE)
    held = _record(_train(tmp_path / "held", *overrides, short=short))
    monkeypatch.setattr("frostline.data.pictures.sources.MEMORY_BYTES", 0)
    streamed = _record(_train(tmp_path / "streamed", *overrides, short=short))
    assert streamed["metrics"] == held["metrics"] == kept["metrics"]
    assert streamed["data"] == held["data"] == kept["data"]


class TextBackbone(Backbone):
    def __init__(self, *, load: bool = True) -> None:
        blocks = {"embeddings": nn.Embedding(10, 4)}
        spec = TextSpec(tokenizer="none", max_length=8)
        super().__init__(name="reader", blocks=blocks, pool=nn.Identity(), width=4, spec=spec, loaded="random")


class Hungry(Tiny):
    """Wants more memory than there is in every pass that learns."""

    def __init__(self, *, weights: str | None, load: bool = True) -> None:
        super().__init__(weights=None)
        self.blocks["stem"].append(_Glutton())


class _Glutton(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.empty(2**50)[0] if self.training else x


def test_memory_that_is_short_on_a_cpu_is_told(program: Callable[..., Answer]) -> None:
    model = ["model._target_=test_run.Hungry", "model.weights=null", "schedule=full"]
    answer = program("train", *model, "data.train_limit=20", *DEVICE, "logger=none", "run_dir=run")
    assert answer.code == 1
    assert "no memory left in phase 'all'" in answer.err
    assert "next:  a smaller data.batch_size" in answer.err


def test_memory_that_is_short_after_training_is_told(
    program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.commands.train.test", lambda *_, **__: torch.empty(2**50))
    model = ["model._target_=tiny.Tiny", "schedule=full", "schedule.phases.all.epochs=1"]
    answer = program("train", *model, "data.train_limit=20", *DEVICE, "logger=none", "run_dir=run")
    assert answer.code == 1
    assert "memory ran out: " in answer.err
    assert "next:  a smaller data.image_size" in answer.err


def test_a_batch_that_has_no_statistics_is_told(program: Callable[..., Answer]) -> None:
    """One picture, of which the last blocks leave one pixel."""
    model = ["model=resnet18", "model.weights=null", "data.image_size=32", "schedule=full"]
    few = ["data.train_limit=10", "data.batch_size=1", *DEVICE, "logger=none", "run_dir=run"]
    answer = program("train", *model, *few)
    assert answer.code == 1
    assert "BatchNorm has no statistics for one picture of one pixel in phase 'all'" in answer.err
    assert "next:  data.batch_size=2 or more" in answer.err


class TinyBackbone(Backbone):
    def __init__(self, *, width: int, load: bool = True) -> None:
        blocks = {"stem": nn.Conv2d(3, width, 3), "top": nn.Conv2d(width, width, 3)}
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        spec = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        super().__init__(name="tiny", blocks=blocks, pool=pool, width=width, spec=spec, loaded="random")


def test_a_rank_that_was_lost_ends_the_others() -> None:
    """One that was stopped answers no SIGTERM."""
    from types import SimpleNamespace

    from frostline.commands.recording import others_stopped
    from frostline.errors import RankError

    killed: list[signal.Signals] = []
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(kill=killed.append)))
    with pytest.raises(RankError), others_stopped(trainer):
        raise RankError("contact is lost", next_step="see")
    assert killed == [signal.SIGKILL]
