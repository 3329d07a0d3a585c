"""Whole runs of networks that were pretrained to find objects: train, evaluate, predict, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import compared
from compared import kept_and_never, record_of, require_equal_if_stopped
from conftest import DEVICE, Answer, short_form
from frostline.commands.train import NOT_HERE
from tiny_boxes import put_coco
from tiny_detr import put

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]

OWN = ["task=detection", "data=boxes", "data.sides=[64,64]", "data.batch_size=4", "head.detections=20"]
OWN += [*DEVICE, "trainer.precision=32-true", "logger=none", "report=false", "callbacks.progress=null"]
BOTH = ["schedule=two_stage", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=2"]
LAST = ["schedule=last_block", "schedule.phases.head.epochs=1", "schedule.phases.last.epochs=1"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """11 training pictures in batches of 4, 4 and 3."""
    return put_coco(tmp_path_factory.mktemp("data"), {"train": 11, "val": 3, "test": 4})


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    for kind in ("rt_detr", "d_fine", "rf_detr"):
        put(kind, folder / kind)
    return folder


def own(networks: Path, data: Path, kind: str, *settings: str) -> list[str]:
    names = {"rt_detr": "rt_detr_r18", "d_fine": "d_fine_small", "rf_detr": "rf_detr_nano"}
    return [*OWN, f"model={names[kind]}", f"model.name={networks / kind}", f"data.dir={data}", *settings]


# --- exactness ---


@pytest.mark.parametrize("kind", short_form(["rt_detr", "rf_detr"], "rf_detr"))
def test_keeping_the_outputs_of_frozen_blocks_changes_no_bit(
    kind: str, networks: Path, data: Path, program: Program, tmp_path: Path
) -> None:
    """The outputs of all blocks, then of all but the last."""
    settings = own(networks, data, kind, *LAST, "data.augment=none")
    settings += ["trainer.precision=bf16-mixed"] if kind == "rf_detr" else []
    first, _ = kept_and_never(program, tmp_path, *settings)
    assert compared.cached_phases(first) == ["head", "last"]


@pytest.mark.long
def test_a_run_that_is_stopped_ends_in_the_same_bits(
    networks: Path, data: Path, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch of the second phase. Denoising draws labels and boxes."""
    settings = own(networks, data, "d_fine", *BOTH, "data.augment=strong", "cache=never")
    require_equal_if_stopped(program, tmp_path, monkeypatch, "train 5", *settings)


# --- a run ---


@pytest.fixture(scope="module")
def run(networks: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from test_run import _train

    folder = tmp_path_factory.mktemp("detr") / "run"
    chosen = own(networks, data, "rt_detr", *BOTH, "trainer.precision=bf16-mixed", "task.threshold=0.001")
    return _train(folder, short=chosen)


def test_a_run_says_what_it_left_out(run: Path) -> None:
    record = record_of(run)
    assert {"test/map", "test/map_50"} <= record["metrics"].keys()
    assert "left out on purpose: model.decoder.class_embed, model.denoising_class_embed" in json.dumps(record)


def test_a_run_is_scored_again_and_predicts(run: Path, data: Path, program: Program) -> None:
    answer = program("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert f"test/map {record_of(run)['metrics']['test/map']:.4f}" in answer.out
    answer = program("predict", f"run={run}", f"input={data / 'test'}", "output=found.csv", "pictures=true")
    assert answer.code == 0, answer.err
    said = json.loads(Path("found/detections.json").read_text())
    assert [it["name"] for it in said["categories"]] == ["green", "red"]
    assert len(said["annotations"]) == 4 * 20  # each picture has as many boxes as the head returns


# --- what is refused ---


def refused(program: Program, *overrides: str) -> str:
    answer = program("train", *overrides, "run_dir=run")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    return answer.err


def without(settings: list[str], *starts: str) -> list[str]:
    return [it for it in settings if not it.startswith(starts)]


def test_what_does_not_go_together_is_refused(networks: Path, data: Path, program: Program) -> None:
    settings: Any = own(networks, data, "rf_detr", *BOTH)
    said = refused(program, *without(settings, "data.sides"), "data.sides=[64,96]")
    assert "takes squares only" in said
    assert "data.sides=[96,96]" in said
    said = refused(program, *without(settings, "data.sides"), "data.sides=[80,80]")
    assert "each side must be a multiple of 32" in said
    said = refused(program, *without(settings, "data"), "data=digits")
    assert "this data has one class for each sample" in said
    said = refused(program, *without(settings, "task", "data", "head"), "data=digits")
    assert "this head returns outputs per box" in said
    assert "head=linear" in said
    said = refused(program, *without(settings, "task", "data", "head"), "data=digits", "head=linear")
    assert "returns features as pyramid, but this head or task needs vector" in said
    assert "head=detr" in said
    said = refused(program, *without(settings, "model"), "head=detr")
    assert "was not pretrained with a decoder" in said
    assert "model=rt_detr_r18" in said
    said = refused(program, *without(settings, "model.name"), "model.name=nobody/nothing")
    assert "cannot find the config" in said or "cannot read the config" in said  # without a network, or with one
    assert "model.weights=<folder with config.json, model.safetensors, preprocessor_config.json>" in said
