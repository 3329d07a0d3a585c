"""What TensorBoard shows at the end of a run, and what it leaves out where samples are private."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from torch.utils.tensorboard import SummaryWriter

from frostline.commands.board import _flat, _log_predictions, _metrics, log_late_test, shows_samples
from frostline.pages.board import (
    LETTERS,
    _fitted,
    _font,
    confusion_picture,
    contact_sheet,
    precision_recall,
    text_table,
)
from frostline.pages.samples import Gallery, Sample
from frostline.pages.sections import Matrix
from frostline.runs.predictions import Predictions, read
from frostline.runs.record import Record
from frostline.training.callbacks.curves import Curves
from frostline.training.projector import SIDE, TAG, _has_features, reduced, remove_features
from test_pages import NASTY


def test_a_run_fills_the_tabs(small_run: Path) -> None:
    events = EventAccumulator(str(small_run / "tensorboard"), size_guidance={"images": 0, "tensors": 0}).Reload()
    tags = events.Tags()
    assert {*tags["images"]} == {
        f"test/{it}" for it in ("confusion", "surest mistakes", "most uncertain", "a random few")
    }
    assert {"plan/text_summary", "config/text_summary", *(f"precision_recall/{at}" for at in range(10))} <= {
        *tags["tensors"]
    }
    assert {"phase", "frost_line", "final/test/accuracy"} <= {*tags["scalars"]}
    assert [event.value for event in events.Scalars("frost_line")] == [4.0]
    assert events.PluginTagToContent("hparams")
    folder = small_run / "tensorboard" / "00000" / "frozen features"
    labels = (folder / "metadata.tsv").read_text().splitlines()
    assert len(labels) == len((folder / "tensors.tsv").read_text().splitlines()) == 143
    assert (folder / "sprite.png").is_file()
    assert 12 * SIDE <= 8192


class Writer:
    """Notes what is written."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def add(self, tag: str, *_: Any, **__: Any) -> None:
        self.tags.append(tag)

    add_image = add_pr_curve = add_text = add


def test_samples_may_be_left_out(small_run: Path) -> None:
    data: Any = None
    writer = Writer()
    _log_predictions(writer, data, read(small_run, "test"), 3, None, pictures=False)
    assert writer.tags == ["test/confusion", *(f"precision_recall/{at}" for at in range(10))]


def test_a_late_test_adds_to_the_curves(small_run: Path, tmp_path: Path) -> None:
    """At the last step of the training; a run without curves gets none."""
    shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard", "checkpoints"))
    record, settings, data = Record.read(small_run), OmegaConf.create({"report": False}), cast(Any, None)
    log_late_test(data, settings, record, tmp_path / "run")
    assert not (tmp_path / "run" / "tensorboard").exists()
    with SummaryWriter(str(tmp_path / "run" / "tensorboard")) as writer:
        writer.add_scalar("val/accuracy", 0.5, 4)
        writer.add_scalar("val/accuracy", 0.6, 9)
    log_late_test(data, settings, record, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert [it.step for it in events.Images("test/confusion")] == [9]
    for name in ("test/accuracy", "final/test/accuracy"):
        assert [(it.step, it.value) for it in events.Scalars(name)] == [
            (9, pytest.approx(record.metrics["test/accuracy"]))
        ]
    assert [it.step for it in events.Scalars("val/accuracy")] == [4, 9]
    assert "final/val/accuracy" not in events.Tags()["scalars"], "the training has logged it"


@pytest.mark.parametrize(
    ("report", "shows"), [(False, False), ({"pictures": False}, False), ({"pictures": True}, True)]
)
def test_samples_follow_the_settings(report: Any, shows: bool) -> None:
    assert shows_samples(OmegaConf.create({"report": report})) is shows
    assert shows_samples(OmegaConf.create({}))  # a run of an earlier version


def test_settings_of_all_runs_are_compared(tmp_path: Path) -> None:
    """TensorBoard's own computation: without an `Experiment`, which would hold the settings of one run alone."""
    for name, settings in {
        "a": {"head": "LinearHead", "data": "it"},
        "b": {"head": "MLP", "lr": 0.1, "data": "it"},
    }.items():
        logger = Curves(str(tmp_path), name="", version=name)
        logger.log_hyperparams(settings, {"final/val/accuracy": 0.5}, 7)
        logger.finalize("success")
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(tmp_path))))
    request = RequestContext()
    found = context.experiment_from_metadata(request, "", True, context.hparams_metadata(request, ""), None, 10)
    assert [(it.name, it.differs) for it in found.hparam_infos] == [("head", True), ("data", False), ("lr", False)]
    assert [it.name.tag for it in found.metric_infos] == ["final/val/accuracy"]
    events = EventAccumulator(str(tmp_path / "a")).Reload()
    assert [event.step for event in events.Scalars("final/val/accuracy")] == [7]


def test_settings_are_named_by_their_path() -> None:
    settings = {
        "seed": 0,
        "cache": {"when": "auto"},
        "head": {"_target_": "a.b.MLP", "width": 64},
        "callbacks": {"it": {}},
    }
    assert _flat(settings | {"a": {"b": {"_target_": "c.D"}}}) == {
        "seed": 0,
        "head": "MLP",
        "head.width": 64,
        "a.b": "D",
    }
    record = Record(command="", seed=0, monitor="val/loss", metrics={"val/loss": 1.0, "val/n": 3.0, "test/loss": 2.0})
    assert _metrics(record) == {"final/val/loss": 1.0, "final/test/loss": 2.0}


def test_texts_are_cut_to_their_room() -> None:
    font = _font()
    assert font.size == LETTERS
    assert _fitted("short", font, 60) == "short"
    assert _fitted("BloodImage_00237_0.jpg", font, 100, keep_end=True).endswith("00237_0.jpg")
    for width in (8, 30, 80):
        shown = _fitted("a name of many words", font, width)
        assert shown.startswith("a")
        assert font.getlength(shown) <= max(width, font.getlength("a…"))


def test_confusions_are_drawn_where_there_is_room() -> None:
    names = [f"a long name {at}" for at in range(3)]
    drawn = confusion_picture(Matrix(names, [[5, 0, 1], [0, 7, 0], [2, 0, 1]], []))
    assert drawn is not None
    assert (drawn.dtype, drawn.shape[0], drawn.shape[2]) == (np.uint8, drawn.shape[1], 3)
    assert confusion_picture(Matrix(names, None, [])) is None


def test_texts_become_a_table_that_they_cannot_leave() -> None:
    gallery = Gallery("it", "why", [Sample("1", "1", "", f"{NASTY} | x\ny", "a|b", "c", False)])
    assert contact_sheet(gallery) is None
    table = text_table(gallery)
    assert "<script>" not in table
    assert "\x1b" not in table
    assert table.count("\n") == 4
    assert text_table(Gallery("it", "why", [])) == ""


def test_curves_are_of_classes_or_labels() -> None:
    target, logits = np.array([0, 2]), np.array([[2.0, 0, 0], [0, 0, 1]])
    found = precision_recall(Predictions({"names": [*"abc"]}, {"target": target, "logits": logits}))
    assert [(it.name, it.right.tolist()) for it in found] == [("a", [1, 0]), ("b", [0, 0]), ("c", [0, 1])]
    np.testing.assert_allclose(sum(it.probabilities for it in found), 1)
    labels = precision_recall(
        Predictions({"names": ["a"]}, {"target": np.array([[1.0], [0]]), "logits": np.zeros((2, 1))})
    )
    assert [(it.right.tolist(), it.probabilities.tolist()) for it in labels] == [([1, 0], [0.5, 0.5])]
    assert precision_recall(Predictions({"names": ["a"]}, {"target": target / 1.0, "predicted": target / 1.0})) == []


def test_features_keep_their_distances() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 3, generator=draw) @ torch.randn(3, 500, generator=draw)
    small = reduced(rows)
    assert small.shape == (200, 64)
    own, theirs = (torch.pdist(it) for it in (small, rows))  # exact, unlike cdist
    torch.testing.assert_close(own, theirs, atol=0.05, rtol=0.01)


def test_a_full_disk_loses_the_features_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from frostline.training.projector import log_projector

    class Full(Curves):
        @property
        def experiment(self) -> Any:
            raise OSError(28, "No space left on device")

    features = SimpleNamespace(form="vector")
    built: Any = SimpleNamespace(
        trainer=SimpleNamespace(logger=Full(str(tmp_path), name="", version="it")),
        data=SimpleNamespace(modality=SimpleNamespace(has_columns=False)),
        model=SimpleNamespace(backbone=SimpleNamespace(features=features)),
    )
    log_projector(built, pictures=True)
    assert "no features for TensorBoard: No space left on device" in capsys.readouterr().err


def test_features_are_known_by_their_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resumed run leaves those that are whole, and writes those anew that a kill left in parts."""
    folder = tmp_path / "00000" / TAG
    assert not _has_features(tmp_path)
    folder.mkdir(parents=True)
    (folder / "tensors.tsv").write_text("0\n")
    assert not _has_features(tmp_path), "their config is missing"
    remove_features(tmp_path)
    writer = SummaryWriter(str(tmp_path))
    writer.add_embedding(torch.eye(3), metadata=["a", "b", "c"], tag=TAG)
    writer.close()
    assert _has_features(tmp_path)
    assert len((folder / "tensors.tsv").read_text().splitlines()) == 3
    remove_features(tmp_path)
    assert not _has_features(tmp_path)
    assert not folder.exists()
    assert "warning" not in capsys.readouterr().out
