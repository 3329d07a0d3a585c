"""`thaw: auto`: a choice by arithmetic, by minutes, kept by the run, told to its user."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from lightning import Trainer

from conftest import ASIDE, DEVICE, Answer, make_phase
from frostline.data.module import Data
from frostline.errors import ConfigError
from frostline.frozen.blocks import Output
from frostline.frozen.policy import Choice
from frostline.training.costs import OVERHEAD, Cost, EpochSamples
from frostline.training.depth import Depth, chosen_depth, depths_of, require_one_process, seconds_of
from frostline.training.settling import epoch_samples

FLOPS = [0.0, 10.0, 40.0, 80.0, 100.0]  # of 0, 1, ... 4 blocks from the stem
OUTPUTS = [Output((1,), torch.float32, False, flops) for flops in FLOPS]
BLOCKS = ["stem", "one", "two", "three"]


def depths(seconds: Sequence[float] | None = None) -> list[Depth]:
    return depths_of(BLOCKS, OUTPUTS, (lambda number: seconds[number]) if seconds is not None else None)


def test_depths_count_the_arithmetic_of_what_thaws() -> None:
    assert [(it.blocks, it.block, it.flops, it.share) for it in depths()] == [
        (0, "-", 0.0, 0.0), (1, "three", 20.0, 0.2), (2, "two", 60.0, 0.6), (3, "one", 90.0, 0.9), (4, "stem", 100.0, 1)
    ]  # fmt: skip


def test_without_minutes_the_share_of_the_arithmetic_decides() -> None:
    assert chosen_depth(depths(), None, least=0) == 2


def test_a_top_block_with_nearly_all_arithmetic_thaws_all_the_same() -> None:
    outputs = [OUTPUTS[0], OUTPUTS[1], OUTPUTS[4]]
    assert chosen_depth(depths_of(["stem", "rest"], outputs, None), None, least=0) == 1


@pytest.mark.parametrize(("minutes", "least", "depth"), [(10, 0, 4), (2, 0, 2), (0.1, 0, 0), (0.1, 1, 1)])
def test_minutes_decide_by_seconds(minutes: float, least: int, depth: int) -> None:
    assert chosen_depth(depths([10, 60, 120, 121, 300]), minutes, least=least) == depth


# 5 training samples and 2 of validation, in 3 epochs.
@pytest.mark.parametrize(
    ("kept", "passes", "passed"),
    [(False, (1, 3), 3 * 5 + 3 * 2), (True, (1, 3), 5 + 2), (True, (2, 3), 2 * 5 + 2), (True, (0, 3), 0)],
)
def test_seconds_count_validation_and_what_the_cache_spares(kept: bool, passes: tuple[int, int], passed: int) -> None:
    costs = {"stem": Cost(1, 2, 0), "top": Cost(10, 20, 0), "head": Cost(100, 200, 0)}
    choice = Choice(line=1, kept=kept, views=0, passes=passes, num_bytes=0, why_not="")
    seconds = seconds_of(costs, make_phase(thaw=1, epochs=3), choice, ["stem", "top"], EpochSamples(5, 2))
    assert seconds == pytest.approx(OVERHEAD * (passed * 1 + 3 * 5 * 330 + 3 * 2 * 110))


def test_a_solve_that_caches_nothing_computes_the_features_of_validation_again() -> None:
    costs = {"stem": Cost(1, 2, 0), "head": Cost(0, 0, 0)}
    choice = Choice(line=1, kept=False, views=0, passes=(1, 2), num_bytes=0, why_not="cache=never")
    seconds = seconds_of(costs, make_phase(thaw="none", epochs=1, solve=True), choice, ["stem"], EpochSamples(5, 2))
    assert seconds == pytest.approx(OVERHEAD * (2 * 5 + 2 * 2))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, EpochSamples(20, 15)),
        ({"limit_train_batches": 2, "limit_val_batches": 1}, EpochSamples(10, 5)),
        ({"limit_val_batches": 0.5}, EpochSamples(20, 5)),
        ({"limit_val_batches": 9, "world_size": 1}, EpochSamples(40, 30)),
        ({"limit_val_batches": 0}, EpochSamples(20, 0)),
    ],
)
def test_samples_of_a_device_in_an_epoch(limits: dict[str, Any], expected: EpochSamples) -> None:
    usual = {"limit_train_batches": 1.0, "limit_val_batches": 1.0, "world_size": 2}
    batches = SimpleNamespace(train_split=range(40), val_split=range(30), num_batches=4, batches_of=lambda split: 3)
    batches.batches_per_epoch = partial(Data.batches_per_epoch, cast(Data, batches))
    found = epoch_samples(cast(Data, batches), cast(Trainer, SimpleNamespace(**(usual | limits))))
    assert found == pytest.approx(expected)


def test_several_processes_are_told_what_to_write() -> None:
    require_one_process(1, "schedule.phases.top.thaw", 2)
    with pytest.raises(ConfigError) as told:
        require_one_process(2, "schedule.phases.top.thaw", 2)
    assert told.value.next_step == "schedule.phases.top.thaw=2 schedule.minutes=null"


# --- whole runs ---

QUICK = [
    "schedule=auto",
    "data.train_limit=100",
    "data.image_size=8",
    "schedule.phases.top.epochs=1",
    "logger=none",
    *ASIDE,
    *DEVICE,
]


def kept(folder: Path) -> dict[str, object]:
    settings = yaml.safe_load((folder / "config.yaml").read_text())["schedule"]
    return {"thaw": settings["phases"]["top"]["thaw"], "minutes": settings["minutes"]}


def test_a_run_prints_its_choice_and_keeps_it(program: Callable[..., Answer], tmp_path: Path) -> None:
    answer = program("train", *QUICK, "run_dir=run")
    assert answer.code == 0, answer.err
    chosen = [line.split()[:2] for line in answer.out.splitlines() if line.rstrip().endswith("chosen")]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    learned = record["phases"][1]["learns"]
    assert chosen == [[str(len(learned) - 1), learned[-1]]]
    assert kept(tmp_path / "run") == {"thaw": len(learned) - 1, "minutes": None}
    scored = program("evaluate", "run=run")
    assert scored.code == 0, scored.err
    assert f"{record['metrics']['test/loss']:.4f}" in scored.out


# Convolutions of 3 × 3 in each block of the bundled network for pictures of 8 pixels: channels in, out, outputs a side.
CONVOLUTIONS = {
    "stem": [(3, 16, 8)],
    "stage1": [(16, 48, 8), (48, 48, 4), (48, 48, 4)],
    "stage2": [(48, 112, 4), (112, 112, 2), (112, 112, 2)],
    "stage3": [(112, 208, 2), (208, 208, 1), (208, 208, 1)],
}


def shares() -> list[list[str]]:
    """Cells of the table of depths, without time and mark: a multiplication and an addition for each weight and
    output."""
    flops = [2 * sum(9 * a * b * side**2 for a, b, side in block) for block in CONVOLUTIONS.values()]
    names = ["-", *reversed(CONVOLUTIONS)]
    thawed = [sum(flops[len(flops) - number :]) for number in range(len(names))]
    cells = zip(names, thawed, strict=True)
    return [
        [str(number), name, f"{part / 1e9:.3g}", f"{round(100 * part / sum(flops))}%"]
        for number, (name, part) in enumerate(cells)
    ]


def table_of(answer: Answer) -> list[list[str]]:
    """Rows of the printed table of depths, from nothing to the stem."""
    assert answer.code == 0, answer.err
    rows = [re.split(r"\s{2,}", line.strip()) for line in answer.out.splitlines()]
    start = next(number for number, row in enumerate(rows) if row[0] == "thawed")
    return rows[start + 2 : start + 2 + len(CONVOLUTIONS) + 1]


def test_the_table_shows_the_arithmetic_and_the_same_choice_each_time_whatever_the_number_of_samples(
    program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [[*row, "chosen"] if row[1] == "stage3" else row for row in shares()]
    assert [row[3] for row in expected] == ["0%", "37%", "74%", "99%", "100%"]
    for samples in (100, 100, 700):
        monkeypatch.setattr("frostline.training.frozen_setup.OUTPUTS", {})
        assert table_of(program("train", *QUICK, f"data.train_limit={samples}", "dry_run=true")) == expected


def test_the_table_shows_the_seconds_of_both_phases_by_which_minutes_choose(
    program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 samples of training and 143 of validation; a sample takes 10 seconds forward and 20 backward in all blocks.
    Without a cache a solved head takes two passes over both, as does the other phase if nothing thaws; else it takes
    one over what stays frozen."""
    forward = {"stem": 1.0, "stage1": 2.0, "stage2": 3.0, "stage3": 4.0, "head": 0.0}
    costs = {name: Cost(seconds, 2 * seconds, 0) for name, seconds in forward.items()}
    monkeypatch.setattr("frostline.training.settling.costs_of", lambda *_: costs)
    answer = program("train", *QUICK, "cache=never", "schedule.minutes=170", "dry_run=true")
    passes = [(4, 0), (3, 4), (3, 7), (3, 9), (3, 10)]  # through the network; then seconds forward of what thaws
    hours = [OVERHEAD * (whole * 243 * 10 + 100 * 2 * thawed) / 3600 for whole, thawed in passes]
    assert hours[2] < 170 / 60 < hours[3]
    expected = [[*row, f"{time:.1f} h"] for row, time in zip(shares(), hours, strict=True)]
    expected[2].append("chosen")
    assert table_of(answer) == expected


@pytest.mark.long
def test_the_same_plan_with_the_number_gives_the_same_weights(program: Callable[..., Answer], tmp_path: Path) -> None:
    program("train", *QUICK, "run_dir=chosen")
    number = kept(tmp_path / "chosen")["thaw"]
    program("train", *QUICK, f"schedule.phases.top.thaw={number}", "run_dir=typed")
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("chosen", "typed")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.long
def test_minutes_without_end_thaw_everything_and_hardly_any_nothing(
    program: Callable[..., Answer], tmp_path: Path
) -> None:
    for minutes, thaw in ((1000, 4), (1e-6, 0)):
        answer = program("train", *QUICK, f"schedule.minutes={minutes}", f"run_dir=run{minutes:g}")
        assert answer.code == 0, answer.err
        assert kept(tmp_path / f"run{minutes:g}") == {"thaw": thaw, "minutes": None}


@pytest.mark.long
def test_a_run_that_is_taken_up_keeps_the_depth_that_it_found(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler runs the same command again, here on a machine measured as slower."""
    command = [*QUICK, "requeue=true", "schedule.minutes=1000", "+callbacks.stopper={_target_: test_resume.Stopper}"]
    monkeypatch.setenv("STOP_AT", "train 2 15")
    assert program("train", *command, "run_dir=run").code == 128 + 15
    monkeypatch.delenv("STOP_AT")
    monkeypatch.setattr("frostline.training.settling.plan_seconds", lambda *_: 1e9)
    answer = program("train", *command, "run_dir=run")
    assert answer.code == 0, answer.err
    assert kept(tmp_path / "run") == {"thaw": 4, "minutes": None}


def test_minutes_for_a_plan_that_leaves_nothing_open_are_refused(program: Callable[..., Answer]) -> None:
    answer = program("train", "schedule.minutes=10")
    assert answer.code == 1
    assert "no phase of this plan has `thaw: auto`; schedule=auto has one" in answer.err
