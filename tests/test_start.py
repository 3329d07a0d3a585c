"""What a run starts from, and how the plan shows it beforehand."""

import gc
import random as builtin_random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Answer
from frostline.backbones.bundled import BundledBackbone
from frostline.cli.importing import uncollected
from frostline.training.build import Built, build
from frostline.training.forecast import planned
from frostline.training.init_from import init_from
from test_run import SHORT, _record, _train, finished  # noqa: F401  # `finished` is a fixture
from tiny import CHAIN, FEW, FEW_STEPS

QUICK = [*(override for override in SHORT if not override.startswith("schedule")), FEW_STEPS]


def _state(run: Path, name: str = "last") -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return state


# --- imports ---


def test_garbage_is_collected_again_after_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with uncollected():
        assert gc.isenabled(), "Lightning is there already"
    monkeypatch.delitem(sys.modules, "lightning")
    with uncollected():
        assert not gc.isenabled()
    assert frozen == [False], "once, before the first collection"
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
    assert frozen == [False]


# --- the plan, beforehand ---


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, program: Callable[..., Answer]) -> None:
    answer = program("train", *QUICK, "dry_run=true", "schedule=gradual", "optimizer.weight_decay=0.05",
                     "schedule.every_phase.solve=false")  # fmt: skip
    assert answer.code == 0, answer.err
    assert list(tmp_path.iterdir()) == []
    rows = [line.split() for line in answer.out.splitlines() if line.strip().startswith(("head", "down-", "all"))]
    rows, remarks = rows[:6], rows[6:]
    assert [row[0] for row in rows] == ["head", "down-stage3", "down-stage2", "down-stage1", "down-stem", "all"]
    assert rows[0][:6] == ["head", "head", "0.002", "0.05", "…", "0"]
    assert [row[0] for row in remarks] == [row[0] for row in rows]
    assert "outputs of stem … stage3 are cached: 1 pass over the data instead of 2, " in answer.out
    assert "MB; pictures without augmentation" in answer.out
    assert [" ".join(remark[1:]) for remark in remarks[4:]] == ["a new view each epoch"] * 2
    assert rows[0][6:9] == [f"{208 * 10 + 10:,}", "2", "8"], "parameters, epochs, steps: two epochs of four"


def _state_of(built: Built) -> Any:
    model = built.model
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    return learns, modes, model._phase, model._line, model.phase_number, model.first_epoch, built.frozen._lines


def test_the_plan_that_is_printed_changes_nothing(composed: Callable[..., Any]) -> None:
    built = build(composed(*SHORT, FEW_STEPS, "run_dir=none"), logs=False)
    before = {name: value.clone() for name, value in built.model.state_dict().items()}
    odd = list(built.model.parameters())[::3]
    for parameter in odd:  # a state that no phase would leave
        parameter.requires_grad_(False)
    for module in list(built.model.modules())[::2]:
        module.training = not module.training
    built.model.frozen_pass._copies[0] = copy = built.model.backbone
    state, shown = _state_of(built), built.data.augments  # type: ignore[attr-defined]
    random = torch.get_rng_state(), repr(np.random.get_state()), builtin_random.getstate()
    head, everything = planned(built)
    assert torch.equal(torch.get_rng_state(), random[0])
    assert (repr(np.random.get_state()), builtin_random.getstate()) == random[1:]
    assert (_state_of(built), built.data.augments) == (state, shown)
    assert built.model.frozen_pass._copies == {0: copy}
    assert built.model._phase is None
    assert all(torch.equal(value, built.model.state_dict()[name]) for name, value in before.items())
    assert all(p.grad is None for p in built.model.parameters())
    assert (head.steps, everything.steps) == (8, 8)
    assert head.rates == (2e-3, 2e-3)
    assert everything.parameters == sum(p.numel() for p in built.model.parameters())
    assert 0 < head.seconds < everything.seconds
    weights = 4 * everything.parameters
    assert weights < head.memory < everything.memory
    assert everything.memory > 4 * weights, "weights, gradients, two moments of Adam, activations"


# --- old weights ---


def test_a_new_run_starts_from_an_old_one_with_its_head(finished: Path, tmp_path: Path) -> None:  # noqa: F811
    folder = _train(tmp_path / "new", f"init_from={finished}", "schedule=head_only", "schedule.phases.head.epochs=1",
                    short=QUICK)  # fmt: skip
    before, after = _state(finished, "best"), _state(folder, "best")
    names = [name for name in before if name.startswith("backbone.")]
    assert names
    assert [name for name in names if not torch.equal(before[name], after[name])] == []
    assert "the head is loaded too" in _record(folder)["model"]["weights"]
    assert _record(folder)["metrics"]["val/accuracy"] >= _record(finished)["metrics"]["val/accuracy"] - 0.02


def test_a_new_run_on_other_classes_takes_the_backbone_alone(
    finished: Path, composed: Callable[..., Any]  # noqa: F811
) -> None:  # fmt: skip
    built = build(composed(*SHORT, "run_dir=none"), logs=False)
    fresh = built.model.head.state_dict()["layers.1.weight"].clone()
    said = init_from(built.model, finished, replace(built.data.targets, names=[*"abcdefghij"]))
    assert "the head is new: the run had other classes" in said
    assert torch.equal(built.model.head.state_dict()["layers.1.weight"], fresh)
    assert "the head is loaded too" in init_from(
        built.model, finished / "checkpoints" / "best.ckpt", built.data.targets
    )
    assert not torch.equal(built.model.head.state_dict()["layers.1.weight"], fresh)


@pytest.mark.long
def test_the_best_so_far_is_where_a_phase_may_start(tmp_path: Path) -> None:
    """At a rate that destroys what was learned, the last weights of the first phase are not its best."""
    overrides = [
        "schedule.phases.all.lr_scale=1e-12",
        "schedule.phases.head.epochs=3",
        "schedule.every_phase.solve=false",
        "schedule.phases.all.epochs=1",
    ]
    overrides += ["task.monitor=val/loss", "task.mode=min", "optimizer=sgd", "optimizer.lr=60", "data.augment=none"]
    overrides += [
        "schedule.every_phase.norm=frozen",
        "schedule.every_phase.curve=constant",
        "data.image_size=null",
        "seed=1",
    ]
    run = _train(tmp_path / "best", *overrides, "+schedule.phases.all.start_from=best", short=QUICK)
    head, everything = _record(run)["phases"]
    assert everything["val"]["val/loss"] == pytest.approx(_record(run)["metrics"]["val/loss"], rel=1e-3)
    assert head["val"]["val/loss"] != pytest.approx(everything["val"]["val/loss"], rel=1e-3)


def test_a_head_of_a_checkpoint_file_is_new_for_other_classes(
    finished: Path, composed: Callable[..., Any]  # noqa: F811
) -> None:  # fmt: skip
    built = build(composed(*SHORT, "run_dir=none"), logs=False)
    said = init_from(
        built.model, finished / "checkpoints" / "last.ckpt", replace(built.data.targets, names=[*"abcdefghij"])
    )
    assert "the head is new: the run had other classes" in said


@pytest.mark.long
def test_the_name_of_a_folder_is_not_mistaken_for_a_setting(
    tmp_path: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`none` is also what task.class_weights says; the second run gets a number behind its folder's name."""
    monkeypatch.chdir(tmp_path)
    quick = ["trainer=debug", "schedule=head_only", "schedule.phases.head.epochs=1"]
    for name in ("none", "none-2"):
        _train(Path("none"), *quick, short=[])
        assert _record(tmp_path / name)["status"] == "finished"
    assert program("evaluate", "run=none-2").code == 0
    assert "class_weights: none\n" in (tmp_path / "none-2" / "config.yaml").read_text()


# --- what a phase has of its own ---


@pytest.mark.long
def test_an_anchored_run_is_scored_without_the_pretrained_weights(
    tmp_path: Path, program: Callable[..., Answer]
) -> None:
    weights = tmp_path / "start.pth"
    torch.save(BundledBackbone(weights="bundled").blocks.state_dict(), weights)
    run = _train(tmp_path / "run", f"model.weights={weights}", "schedule.every_phase.l2_sp=0.1", short=QUICK)
    weights.unlink()
    assert program("evaluate", f"run={run}").code == 0


@pytest.mark.long
def test_an_anchor_keeps_the_weights_close_to_the_pretrained_ones(tmp_path: Path) -> None:
    pretrained = BundledBackbone(weights="bundled")
    start = {f"backbone.{name}": p.detach() for name, p in pretrained.named_parameters()}

    def moved(pull: float) -> float:
        overrides = ["schedule=full", "schedule.phases.all.epochs=2", f"schedule.every_phase.l2_sp={pull}"]
        overrides += ["schedule.phases.all.lr_scale=1"]
        overrides += ["optimizer=sgd", "optimizer.lr=0.05", "optimizer.weight_decay=0"]
        overrides += ["schedule.every_phase.norm=adapt", *FEW]
        state = _state(_train(tmp_path / f"anchor{pull}", *overrides, short=QUICK))
        return sum(float((state[name] - value).square().sum()) for name, value in start.items())

    assert 0 < moved(1.0) < 0.8 * moved(0.0)


def test_a_phase_has_an_optimizer_of_its_own(tmp_path: Path) -> None:
    folder = _train(tmp_path / "run", *CHAIN, "+optimizer@schedule.phases.head.optimizer=sgd", "logger=none")
    head, everything = _record(folder)["phases"]
    assert head["learning_rates"]["head"] == 0.01, "of conf/optimizer/sgd.yaml"
    assert everything["learning_rates"]["head"] == pytest.approx(6e-4)


# --- places ---


@pytest.mark.long
def test_evaluate_finds_the_data_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., Answer]
) -> None:
    for name in ("light", "dark"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            grey = 20 * number if name == "dark" else 255 - 2 * number
            Image.new("RGB", (16, 16), (grey, grey, grey)).save(tmp_path / "pictures" / name / f"{number}.png")
    short = [split for split in SHORT if not split.startswith("data.")]
    data = ["data=image_folder", "data.dir=pictures", "data.image_size=8"]
    assert program("train", *short, *data, "run_dir=run").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    answer = program("evaluate", "run=../run")
    assert answer.code == 0, answer.err
    (tmp_path / "pictures").rename(tmp_path / "moved")
    lost = program("evaluate", "run=../run")
    assert lost.code == 1
    assert "data.dir=<folder>" in lost.err
    assert program("evaluate", "run=../run", "data.dir=../moved").code == 0
