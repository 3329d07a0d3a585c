"""The LR finder on the digits: what it tries, what it tells, and that it leaves no trace."""

import io
import json
import math
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from conftest import DEVICE, Answer
from frostline.commands.lr_find.curves import COLUMNS, DOTS_PER_INCH, PANEL, picture_of
from frostline.commands.lr_find.find import find_rates
from frostline.commands.lr_find.range_test import NUMBERS, PICTURE, RangeTest, RateCurve
from frostline.commands.train import NOT_HERE
from frostline.errors import RunError
from frostline.paths import conf_dir
from frostline.training.build import Built, bare_trainer, build
from tiny import CHAIN

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]

# Four batches an epoch, small pictures, float32, dropout on: twenty steps are five epochs.
SHORT = [*CHAIN, "head.dropout=0.1", *DEVICE, "trainer.precision=32-true", "logger=none"]
BUNDLED = ["model._target_=frostline.backbones.bundled.BundledBackbone"]  # has features from which a head learns
# More of the digits, with larger batches: no loss diverges before the twentieth step.
DIGITS = [*BUNDLED, "data._target_=tiny.MoreDigits", "data.train_limit=90", "data.batch_size=23", "data.image_size=8"]
TEST = RangeTest(steps=20, lowest=1e-4, highest=0.05)
SHORTER = ["lr_find.steps=20", "lr_find.lowest=1e-4", "lr_find.highest=0.05"]


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*SHORT, "run_dir=none", *overrides])
    GlobalHydra.instance().clear()
    return cfg


def found(*overrides: str, test: RangeTest = TEST, watch: L.Callback | None = None) -> tuple[Built, list[RateCurve]]:
    cfg = configured(*overrides)
    L.seed_everything(0, verbose=False)
    built = build(cfg, logs=False)
    more = [watch] if watch is not None else []
    return built, find_rates(built, lambda callbacks: bare_trainer(cfg.trainer, [*callbacks, *more]), test)


@pytest.fixture(scope="module")
def two_stage() -> list[RateCurve]:
    return found(*DIGITS)[1]


# --- no trace ---


class Traces(NamedTuple):
    """All that a finder might change. state: parameters and buffers, and what no checkpoint holds."""

    state: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    learning: dict[str, bool]
    training: dict[str, bool]
    places: dict[str, int]
    torch: Tensor
    python: Any
    numpy: Any
    trainer: Any
    epoch: int


def traces(built: Built) -> Traces:
    model = built.model
    named = [*model.named_parameters(), *model.named_buffers()]
    return Traces(
        {name: value.detach().clone() for name, value in named},
        {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        {name: p.requires_grad for name, p in model.named_parameters()},
        {name: module.training for name, module in model.named_modules()},
        {name: value.data_ptr() for name, value in named},
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state(),
        built.data.trainer,
        built.trainer.current_epoch,
    )


def require_no_trace(before: Traces, after: Traces) -> None:
    assert before.state.keys() == after.state.keys()
    assert [name for name, value in before.state.items() if not torch.equal(value, after.state[name])] == []
    assert before.gradients.keys() == after.gradients.keys()
    for name, gradient in before.gradients.items():
        now = after.gradients[name]
        assert now is None if gradient is None else now is not None and torch.equal(gradient, now), name
    for name in ("learning", "training", "places", "python", "epoch"):
        assert getattr(before, name) == getattr(after, name), name
    assert torch.equal(before.torch, after.torch)
    assert all(np.array_equal(a, b) for a, b in zip(before.numpy, after.numpy, strict=True))
    assert before.trainer is after.trainer


class Draws(L.Callback):
    """Draws random numbers from every source; raises at a step, counted over all fits."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.seen = 0

    def on_train_batch_end(self, *_: Any) -> None:
        torch.rand(3), random.random(), np.random.rand(3)
        self.seen += 1
        if self.seen == self.fails_at:
            raise RuntimeError("the machine went down")


@pytest.mark.parametrize("fails_at", [None, 3, 25, 45])
def test_it_leaves_no_trace_also_when_it_fails(fails_at: int | None) -> None:
    cfg = configured("schedule.every_phase.norm=adapt")  # no loss diverges before the twentieth step
    L.seed_everything(0, verbose=False)
    built = build(cfg, logs=False)
    built.model.enter(built.plan.phases[0], 0, 0)
    next(iter(built.model.head.parameters())).grad = torch.ones(10, 12)
    torch.manual_seed(1), random.seed(2), np.random.seed(3)
    before = traces(built)
    watch = Draws(fails_at)
    find = partial(find_rates, built, lambda callbacks: bare_trainer(cfg.trainer, [*callbacks, watch]), TEST)
    if fails_at is None:
        find()
        assert watch.seen == 60, "twenty steps: the head's test, the head on to the next phase, the next phase's test"
    else:
        with pytest.raises(RuntimeError, match="the machine went down"):
            find()
    require_no_trace(before, traces(built))


def test_a_training_that_follows_is_the_training_without_it(tmp_path: Path) -> None:
    """Also the state of Adam: what is trained after is what would have been."""

    def trained(*, after_finding: bool) -> dict[str, Tensor]:
        cfg = configured()
        L.seed_everything(0, verbose=False)
        built = build(cfg, logs=False)
        if after_finding:
            find_rates(built, partial(bare_trainer, cfg.trainer), RangeTest(10, 1e-4, 1.0))
        for number, phase in enumerate(built.plan.phases):
            built.model.enter(phase, number, built.trainer.current_epoch)
            built.trainer.fit_loop.max_epochs = built.trainer.current_epoch + 1
            built.trainer.fit(built.model, datamodule=built.data)
        return built.model.state_dict()

    plain, after = trained(after_finding=False), trained(after_finding=True)
    assert [name for name, value in plain.items() if not torch.equal(value, after[name])] == []


# --- what is tried ---


class Rates(L.Callback):
    """Learning rate and the phase's scale by parameter group, for each step of each fit."""

    def __init__(self) -> None:
        self.fits: list[list[dict[str, tuple[float, float]]]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.fits.append([])

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        groups = optimizer.param_groups
        self.fits[-1].append({group["name"]: (group["lr"], group["lr_scale"]) for group in groups})


def test_groups_keep_their_ratios_at_every_step() -> None:
    watch = Rates()
    plan = [
        "schedule.every_phase.solve=false",
        "schedule.phases.all.lr_scale=0.1",
        "schedule.phases.all.layer_decay=0.5",
    ]
    _, curves = found(*plan, watch=watch)
    head, onward, everything = watch.fits
    assert [len(head), len(onward), len(everything)] == [TEST.steps] * 3
    scales = {"head": 0.1, "stage2": 0.05, "stage1": 0.025, "stem": 0.0125}
    for fit, expected in ((head, {"head": 1.0}), (everything, scales)):
        for base, groups in zip(TEST.rates(), fit, strict=True):
            assert {name.removesuffix("/no_decay") for name in groups} == set(expected)
            for name, (rate, _) in groups.items():
                assert rate == pytest.approx(base * expected[name.removesuffix("/no_decay")], rel=1e-12)
    highest = max(rate for groups in onward for rate, _ in groups.values())
    assert highest == pytest.approx(curves[0].suggestion), "the suggested rate, on the phase's own curve"
    assert onward[0]["head"][0] < highest / 2 > onward[-1]["head"][0]


def test_accumulated_batches_are_one_step_with_one_loss() -> None:
    """Without learning to speak of, the loss of a step of two batches is the mean of theirs."""
    flat = RangeTest(10, 1e-12, 1.1e-12)
    settings = ["schedule=head_only", "schedule.every_phase.solve=false", "data.augment=none", "head.dropout=0.0"]
    (single,) = found(*settings, test=RangeTest(20, 1e-12, 1.1e-12))[1]
    (double,) = found(*settings, "trainer.accumulate_grad_batches=2", test=flat)[1]
    pairs = [(a + b) / 2 for a, b in zip(single.losses[::2], single.losses[1::2], strict=True)]
    assert double.losses == pytest.approx(pairs, rel=1e-5)


def test_a_loss_that_diverges_ends_the_test_and_not_the_program() -> None:
    test = RangeTest(steps=40, lowest=1e-3, highest=1000.0)
    (curve,) = found("schedule=full", "optimizer=sgd", test=test)[1]
    assert curve.diverged
    assert 5 < len(curve.losses) < 40
    assert all(math.isfinite(loss) for loss in curve.losses)
    assert curve.rates[-1] < 1000


def test_a_model_that_is_broken_from_the_start_is_told() -> None:
    cfg = configured()
    built = build(cfg, logs=False)
    next(built.model.head.parameters()).data.fill_(math.nan)
    with pytest.raises(RunError, match="the loss is nan in phase 'head' before the first step"):
        find_rates(built, partial(bare_trainer, cfg.trainer), TEST)


# --- messages ---


@pytest.mark.long
def test_a_plan_of_two_phases_gives_two_curves(two_stage: list[RateCurve]) -> None:
    assert [(curve.phase, curve.learns) for curve in two_stage] == [
        ("head", ["head"]),
        ("all", ["head", "stage3", "stage2", "stage1", "stem"]),
    ]
    for curve in two_stage:
        assert len(curve.rates) == len(curve.losses) == len(curve.smoothed) <= TEST.steps
        assert curve.suggestion is not None
        assert TEST.lowest <= curve.suggestion <= TEST.highest


@pytest.mark.long
def test_a_later_phase_is_tested_on_a_head_that_has_learned() -> None:
    """With unchanged norm statistics, thawing alone changes no loss."""
    head, everything = found(*BUNDLED, "schedule.every_phase.norm=frozen", "data.augment=none")[1]
    assert head.losses[0] > 2
    assert everything.losses[0] < 0.7 * head.losses[0]


@pytest.mark.long
def test_twice_the_same_call_gives_the_same_curves(two_stage: list[RateCurve]) -> None:
    """The same model twice, and a newly built one."""
    cfg = configured(*DIGITS)
    L.seed_everything(0, verbose=False)
    built = build(cfg, logs=False)
    find = partial(find_rates, built, partial(bare_trainer, cfg.trainer), TEST)
    assert find() == find() == two_stage


def test_the_picture_has_a_panel_per_phase() -> None:
    test = RangeTest(10, 1e-6, 10.0)
    falls, level = [2.0, 2.0, 2.0, 2.0, 1.9, 1.7, 1.2, 0.8, 0.7, 9.0], [2.0] * 4
    curves = [RateCurve(f"phase{n}", ["head"], test, falls if n % 2 else level, False) for n in range(COLUMNS + 1)]
    for count, (columns, rows) in {1: (1, 1), 2: (2, 1), COLUMNS + 1: (COLUMNS, 2)}.items():
        picture = Image.open(io.BytesIO(picture_of(curves[:count], "title")))
        assert picture.format == "PNG"
        assert picture.width == pytest.approx(PANEL[0] * columns * DOTS_PER_INCH, abs=2)
        assert picture.height > PANEL[1] * rows * DOTS_PER_INCH


# --- the command ---


def test_the_command_leaves_a_picture_its_numbers_and_the_next_command(
    tmp_path: Path, program: Callable[..., Answer]
) -> None:
    typed = [*SHORT, "schedule.phases.all.layer_decay=0.9"]
    answer = program("lr_find", *typed, *SHORTER, "lr_find.output=out")
    assert answer.code == 0, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {PICTURE, NUMBERS}
    with Image.open(tmp_path / "out" / PICTURE) as picture:
        assert picture.format == "PNG"
    said = json.loads((tmp_path / "out" / NUMBERS).read_text())
    head, everything = said["phases"]
    assert (head["name"], everything["name"]) == ("head", "all")
    assert said["test"] == {"steps": 20, "lowest": 1e-4, "highest": 0.05}
    assert said["command"] == shlex.join(["frostline", "lr_find", *typed, *SHORTER, "lr_find.output=out"])
    assert said["settings"]["optimizer.lr"] == head["suggestion"]
    rows = [line.split() for line in answer.out.splitlines()]
    assert any(row[:2] == ["head", "head"] and f"{head['suggestion']:g}" in row for row in rows)
    following = shlex.split(next(line for line in answer.out.splitlines() if line.startswith("next")))
    assert following[2:] == ["train", *said["next"]]
    assert following[3 : 3 + len(typed)] == typed
    assert f"optimizer.lr={head['suggestion']:g}" in following
    assert program(*following[2:], "dry_run=true").code == 0, "it can be typed as it stands"


@pytest.mark.long
def test_a_second_time_it_writes_beside_the_first(tmp_path: Path, program: Callable[..., Answer]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NUMBERS).write_text("of before")
    typed = ["schedule=head_only", "lr_find.steps=10", "lr_find.output=out"]
    assert program("lr_find", *SHORT, *typed).code == 0
    assert (tmp_path / "out" / NUMBERS).read_text() == "of before"
    assert (tmp_path / "out-2" / PICTURE).is_file()


@pytest.mark.long
def test_a_plan_with_a_phase_per_block_fits_one_scale_to_all_of_them(program: Callable[..., Answer]) -> None:
    plan = ["schedule=gradual", "schedule.phases.all=null", "schedule.phases.down.lr_scale=30"]
    answer = program("lr_find", *SHORT, *plan, "lr_find.steps=10", "lr_find.output=out", "optimizer.lr=0.5")
    assert answer.code == 0, answer.err
    rows = [line.split()[0] for line in answer.out.splitlines() if line.strip().startswith("down-")]
    assert rows == ["down-stage2", "down-stage1", "down-stem"]


# --- several processes ---


@pytest.mark.long
@pytest.mark.process
@pytest.mark.usefixtures("solved_to_the_end")
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    """Also that a test diverges: all ranks stop at the same step, or they would wait for each other."""
    # As in ranks_worker.py: what ranks compute is then what one process computes.
    same = ["data._target_=frostline.data.pictures.digits.Digits", "data.augment=none", "head.dropout=0"]
    same += ["data.train_limit=63", "data.batch_size=21", "data.image_size=8"]
    same += ["optimizer=sgd", "schedule.every_phase.norm=frozen", "trainer.precision=32-true"]
    test = ["lr_find.steps=12", "lr_find.lowest=1e-3", "lr_find.highest=1000", f"lr_find.output={tmp_path / 'rates'}"]
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    answer = subprocess.run(
        [sys.executable, "-m", "frostline", "lr_find", *same, *test, *ranks],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**environment, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("picture  ") == 1, "one process tells"
    assert {path.name for path in tmp_path.iterdir()} == {"rates"}
    two = json.loads((tmp_path / "rates" / NUMBERS).read_text())["phases"]
    _, one = found(*BUNDLED, *same, test=RangeTest(12, 1e-3, 1000.0))
    for alone, shared in zip(one, two, strict=True):
        assert (shared["name"], shared["suggestion"]) == (alone.phase, alone.suggestion)
        assert shared["diverged"] is alone.diverged
        assert shared["losses"] == pytest.approx(alone.losses, rel=1e-3)
    assert any(curve.diverged for curve in one)
