"""Masks: keeping the outputs of frozen blocks, several of them for a pyramid, changes no bit of a result."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import compared
from compared import cached_phases, kept_and_never, require_equal, require_equal_if_stopped
from conftest import DEVICE, Answer, short_form
from tiny_masks import put

Program = Callable[..., Answer]

# 17 training pictures in batches of 8, 8 and 1; the head's norms see the batch, dropout draws in it.
OWN = ["task=segmentation", "data=image_masks", "data.sides=[32,32]", "data.batch_size=8", "data.augment=none"]
OWN += [
    *DEVICE,
    "trainer.precision=32-true",
    "logger=none",
    "report=false",
    "callbacks.progress=null",
    "optimizer.lr=0.01",
]
HEADS = {
    "map": ["model._target_=tiny.Levels", "head=linear", "head.dropout=0.1"],
    "pyramid": ["model._target_=tiny.Levels", "head=unet", "head.channels=[8,8,8]", "head.dropout=0.1"],
}
PLANS = {
    "last_block": ["schedule=last_block", "schedule.phases.head.epochs=2", "schedule.phases.last.epochs=2"],
    "two_stage": ["schedule=two_stage", "schedule.phases.head.epochs=2", "schedule.phases.all.epochs=1"],
    "middle": ["schedule=head_only", "schedule.phases.head.epochs=2", "+schedule.phases.middle={thaw: 2, epochs: 2}"],
}
CASES = [(form, plan) for form in HEADS for plan in PLANS]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    return [*OWN, f"data.dir={put(tmp_path / 'data')}"]


@pytest.mark.long
@pytest.mark.parametrize(("form", "plan"), short_form(CASES, ("pyramid", "middle")))
def test_every_plan_ends_in_the_same_bits(
    form: str, plan: str, own: list[str], program: Program, tmp_path: Path
) -> None:
    kept_and_never(program, tmp_path, *own, *HEADS[form], *PLANS[plan])


@pytest.mark.long
def test_so_it_is_where_keeping_pays_and_is_chosen(own: list[str], program: Program, tmp_path: Path) -> None:
    """Cache the bundled network's outputs: its blocks cost more than reading them."""
    settings = [*own, "head=unet", "head.channels=[8]", "head.dropout=0.1", *PLANS["middle"]]
    compared.trained(program, tmp_path / "never", *settings, "cache=never")
    auto = compared.trained(program, tmp_path / "auto", *settings, "cache=auto")
    require_equal(tmp_path / "auto", tmp_path / "never")
    assert cached_phases(auto) == ["head", "middle"]


@pytest.mark.parametrize("level", short_form(["standard", "strong"], "standard"))
@pytest.mark.parametrize("form", short_form([*HEADS], "pyramid"))
def test_augmented_views_end_in_the_bits_of_the_run_that_keeps_nothing(
    form: str, level: str, own: list[str], program: Program, tmp_path: Path
) -> None:
    """Masks move as the pictures did when their outputs were made: two views in turn for three epochs."""
    own = [split for split in own if split != "data.augment=none"]
    own = [*own, *HEADS[form], f"data.augment={level}", "schedule=head_only", "schedule.phases.head.epochs=3"]
    first, _ = kept_and_never(program, tmp_path, *own, "schedule.every_phase.views=2")
    levels = {"map": 1, "pyramid": 4}[form]
    assert first["phases"][0]["cache"]["made"] == levels * (2 * 17 + 2)


@pytest.mark.long
def test_lines_of_a_pyramid_share_the_outputs_of_its_levels(own: list[str], program: Program, tmp_path: Path) -> None:
    """Levels are what stem, stage1, stage3 and stage4 give. A run that thaws stage4 finds what the others gave: two
    splits of each, 17 + 2 pictures; a run that thaws stage3, too, makes what stage2 gives."""
    own = [*own, *HEADS["pyramid"], "schedule=head_only", "schedule.phases.head.epochs=2", "cache=always"]
    head = compared.trained(program, tmp_path / "head", *own)
    assert head["phases"][0]["cache"]["made"] == 4 * 19
    last = compared.trained(program, tmp_path / "last", *own, "schedule.phases.head.thaw=1")
    assert (last["phases"][0]["cache"]["made"], last["phases"][0]["cache"]["found"]) == (0, 3 * 19)
    both = compared.trained(program, tmp_path / "both", *own, "schedule.phases.head.thaw=2")
    assert (both["phases"][0]["cache"]["made"], both["phases"][0]["cache"]["found"]) == (19, 2 * 19)
    assert len({str(record["metrics"]) for record in (head, last, both)}) == 3


@pytest.mark.long
def test_other_masks_find_what_was_kept_of_the_same_pictures(own: list[str], program: Program, tmp_path: Path) -> None:
    """Outputs of frozen blocks do not depend on the target type."""
    own = [*own, *HEADS["pyramid"], "schedule=head_only", "schedule.phases.head.epochs=2", "cache=always"]
    first = compared.trained(program, tmp_path / "first", *own)
    second = compared.trained(program, tmp_path / "second", *own, "data.classes=[x,y,z]", "task.dice=1.0")
    assert second["phases"][0]["cache"]["made"] == 0
    assert first["metrics"] != second["metrics"]


@pytest.mark.parametrize("moment", short_form(["train 2", "train 5", "train 8", "validate 3"], "train 8"))
@pytest.mark.parametrize("form", short_form([*HEADS], "pyramid"))
def test_a_run_that_is_stopped_ends_in_the_same_bits(
    form: str, moment: str, own: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Augmented, in the middle of an epoch: batches 2 and 5 are of the first phase, 8 is of the second."""
    own = [split for split in own if split != "data.augment=none"]
    own = [*own, *HEADS[form], *PLANS["last_block"], "data.augment=strong", "cache=never"]
    require_equal_if_stopped(program, tmp_path, monkeypatch, moment, *own)


def test_a_mask_that_was_edited_is_other_data_for_a_resume(
    own: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though as many pixels are of each class as before."""
    monkeypatch.setenv("STOP_AT", f"train 4 {int(signal.SIGTERM)}")
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    settings = [*own, *HEADS["pyramid"], *PLANS["last_block"], stopper]
    compared.trained(program, tmp_path / "run", *settings, code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    file = tmp_path / "data" / "masks" / "p03.png"
    with Image.open(file) as opened:
        opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "flipped.png")
    (tmp_path / "flipped.png").replace(file)
    answer = program("train", f"resume={tmp_path / 'run'}", "trust=true")
    assert answer.code == 1
    assert "this is another run: data.fingerprint" in answer.err


@pytest.mark.long
def test_a_run_goes_on_where_its_data_lies_now(
    own: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[Any] = [*own, *HEADS["pyramid"], *PLANS["last_block"], "cache=always"]
    compared.trained(program, tmp_path / "whole", *settings)
    monkeypatch.setenv("STOP_AT", f"train 8 {int(signal.SIGTERM)}")
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    compared.trained(program, tmp_path / "run", *settings, stopper, code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    (tmp_path / "data").rename(tmp_path / "moved")
    gone = program("train", f"resume={tmp_path / 'run'}", "trust=true")
    assert (gone.code, "data.dir=" in gone.err) == (1, True)
    answer = program("train", f"resume={tmp_path / 'run'}", f"data.dir={tmp_path / 'moved'}", "trust=true")
    assert answer.code == 0, answer.err
    require_equal(tmp_path / "run", tmp_path / "whole")
