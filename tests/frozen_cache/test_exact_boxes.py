"""Boxes: keeping the outputs of frozen blocks, and stopping and resuming, change no bit of a result."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import compared
from compared import kept_and_never, require_equal_if_stopped
from conftest import DEVICE, Answer, short_form
from tiny_boxes import put_coco

Program = Callable[..., Answer]

# 11 training pictures in batches of 4, 4 and 3. Faster R-CNN draws anchors and regions at random.
OWN = ["task=detection", "data=boxes", "data.sides=[32,64]", "data.batch_size=4", "model._target_=tiny.Levels"]
OWN += [
    *DEVICE,
    "trainer.precision=32-true",
    "logger=none",
    "report=false",
    "callbacks.progress=null",
    "optimizer.lr=0.01",
]
HEADS = {
    "retinanet": ["head=retinanet", "head.channels=32", "head.anchor_scale=2", "head.detections=10"],
    "faster_rcnn": [
        "head=faster_rcnn",
        "head.channels=16",
        "head.hidden=16",
        "head.detections=10",
        "head.regions=16",
        "head.proposals=20",
    ],
}
LAST = ["schedule=last_block", "schedule.phases.head.epochs=2", "schedule.phases.last.epochs=2"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    return [*OWN, f"data.dir={put_coco(tmp_path / 'data', {'train': 11, 'val': 3, 'test': 3})}"]


@pytest.mark.long
@pytest.mark.parametrize("name", short_form([*HEADS], "faster_rcnn"))
def test_every_plan_ends_in_the_same_bits(name: str, own: list[str], program: Program, tmp_path: Path) -> None:
    kept_and_never(program, tmp_path, *own, *HEADS[name], *LAST, "data.augment=none")


@pytest.mark.parametrize("level", short_form(["standard", "strong"], "strong"))
def test_boxes_move_as_the_pictures_did_whose_outputs_are_kept(
    level: str, own: list[str], program: Program, tmp_path: Path
) -> None:
    """Two views in turn for three epochs."""
    own = [*own, *HEADS["retinanet"], f"data.augment={level}", "schedule=head_only", "schedule.phases.head.epochs=3"]
    first, _ = kept_and_never(program, tmp_path, *own, "schedule.every_phase.views=2")
    assert first["phases"][0]["cache"]["made"] == 4 * (2 * 11 + 3)


@pytest.mark.parametrize("name", short_form([*HEADS], "faster_rcnn"))
def test_a_run_that_is_stopped_ends_in_the_same_bits(
    name: str, own: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop in the middle of an epoch of the second phase."""
    own = [*own, *HEADS[name], *LAST, "data.augment=strong", "cache=never"]
    require_equal_if_stopped(program, tmp_path, monkeypatch, "train 8", *own)


def test_a_box_that_was_moved_is_other_data_for_a_resume(
    own: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP_AT", f"train 4 {int(signal.SIGTERM)}")
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    compared.trained(program, tmp_path / "run", *own, *HEADS["retinanet"], *LAST, stopper, code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    file = tmp_path / "data" / "annotations" / "instances_train.json"
    said = json.loads(file.read_text())
    said["annotations"][0]["bbox"][0] += 1
    file.write_text(json.dumps(said))
    answer = program("train", f"resume={tmp_path / 'run'}", "trust=true")
    assert answer.code == 1
    assert "this is another run: data.fingerprint" in answer.err
