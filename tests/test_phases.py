"""Phases and plans: arithmetic against torch's own schedulers, and the errors of wrong plans."""

import re
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from conftest import EVERY_PHASE
from conftest import make_phase as phase
from frostline.errors import PlanError
from frostline.plan.phase import Phase
from frostline.plan.phases import NO_AVERAGE, Plan

BLOCKS = ["stem", "layer1", "layer2", "layer3", "layer4"]
CURVES = ("cosine", "linear", "constant")


phases = st.builds(
    phase,
    epochs=st.integers(1, 6),
    warmup_epochs=st.one_of(st.just(0), st.floats(0, 8)),
    curve=st.sampled_from(CURVES),
)
steps_per_epoch = st.integers(1, 40)


# --- the learning-rate curve ---


@given(phases, steps_per_epoch)
def test_the_curve_stays_between_0_and_1_and_learns_from_the_first_step(it: Phase, per_epoch: int) -> None:
    curve = [it.curve_at(step, per_epoch) for step in range(it.epochs * per_epoch)]
    assert all(0 <= height <= 1 for height in curve)
    assert curve[0] > 0


@given(phases, steps_per_epoch)
def test_the_curve_rises_through_the_warm_up_and_never_after(it: Phase, per_epoch: int) -> None:
    curve = [it.curve_at(step, per_epoch) for step in range(it.epochs * per_epoch + 1)]
    warmup = min(round(it.warmup_epochs * per_epoch), it.epochs * per_epoch)
    assert all(earlier < later for earlier, later in pairwise(curve[: warmup + 1]))
    assert all(earlier >= later for earlier, later in pairwise(curve[warmup:]))
    assert curve[warmup] == 1.0


@given(phases, steps_per_epoch)
def test_the_curve_ends_at_0_unless_it_is_constant(it: Phase, per_epoch: int) -> None:
    total = it.epochs * per_epoch
    warm_all_through = round(it.warmup_epochs * per_epoch) >= total
    end = 1.0 if it.curve == "constant" or warm_all_through else 0.0
    assert it.curve_at(total, per_epoch) == pytest.approx(end, abs=1e-12)
    assert it.curve_at(total + 7, per_epoch) == it.curve_at(total, per_epoch) or warm_all_through


def heights(make: Any, steps: int) -> list[float]:
    """What a scheduler of torch makes of a learning rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler: LRScheduler = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(("epochs", "per_epoch"), [(1, 1), (1, 10), (3, 7), (10, 40)])
def test_cosine_and_linear_are_torchs_own(epochs: int, per_epoch: int) -> None:
    total = epochs * per_epoch
    for curve, make in {
        "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=total),
        "linear": lambda optimizer: LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=total),
    }.items():
        ours = [phase(epochs=epochs, curve=curve).curve_at(step, per_epoch) for step in range(total + 1)]
        assert ours == pytest.approx(heights(make, total + 1), abs=1e-6)


def test_after_the_warm_up_cosine_is_torchs_own_over_the_rest() -> None:
    it = phase(epochs=3, warmup_epochs=0.5)  # 5 of 30 steps
    assert [it.curve_at(step, 10) for step in range(5)] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    rest = heights(lambda optimizer: CosineAnnealingLR(optimizer, T_max=25), 25)
    assert [it.curve_at(step, 10) for step in range(5, 30)] == pytest.approx(rest, abs=1e-6)


@given(st.floats(1e-3, 10), st.floats(0.01, 1), st.integers(0, 30))
def test_the_rate_of_a_block_is_scaled_once_per_depth(lr_scale: float, layer_decay: float, depth: int) -> None:
    it = phase(lr_scale=lr_scale, layer_decay=layer_decay)
    assert it.rate(0) == lr_scale
    assert it.rate(depth) == pytest.approx(lr_scale * layer_decay**depth)
    assert it.rate(depth + 1) == pytest.approx(it.rate(depth) * layer_decay)


# --- the frost line ---


@pytest.mark.parametrize(
    ("thaw", "frozen"), [("none", 5), ("all", 0), (0, 5), (2, 3), (5, 0), ("layer4", 4), ("layer2", 2), ("stem", 0)]
)
def test_the_frost_line_is_a_number_of_blocks_from_the_stem(thaw: int | str, frozen: int) -> None:
    assert phase(thaw=thaw).frost_line(BLOCKS) == frozen


@given(st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=12, unique=True), st.data())
def test_a_block_by_name_is_the_same_as_by_number(blocks: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(blocks) - 1))
    by_name, by_number = phase(thaw=blocks[place]), phase(thaw=len(blocks) - place)
    assert by_name.frost_line(blocks) == by_number.frost_line(blocks) == place


@pytest.mark.parametrize(
    ("thaw", "said"),
    [
        ("layer5", "has no such block: did you mean layer4, layer3, layer2?"),
        ("al", "has no such block: did you mean all?"),
        ("conv9", "has no such block: available: all, layer1, layer2, layer3, layer4, none, stem"),
        (6, "thaws 6 blocks, but the backbone has 5"),
        (-6, "thaws 6 blocks, but the backbone has 5"),
        (["stem", "layer9"], "thaws 'layer9', but the backbone has no such block"),
    ],
)
def test_a_frost_line_outside_the_backbone_is_refused(thaw: int | str, said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)) as raised:
        phase(thaw=thaw).frost_line(BLOCKS)
    assert raised.value.where == "schedule.phases.it.thaw"
    assert "none, all" in raised.value.next_step or "all, or of" in raised.value.next_step


# --- plans from config ---


def plan(**phases: Any) -> Plan:
    return Plan.from_config(phases, EVERY_PHASE, asdict(NO_AVERAGE))


def test_a_plan_keeps_the_order_and_a_phase_overrules_what_holds_for_all() -> None:
    made = plan(
        head={"thaw": "none", "epochs": 3}, all={"thaw": "all", "epochs": 7, "lr_scale": 0.1, "until": {"patience": 2}}
    )
    assert made.phases == (
        phase("head", thaw="none"),
        phase("all", epochs=7, lr_scale=0.1, until={"patience": 2}),
    )


def test_a_phase_set_to_null_is_left_out() -> None:
    assert [it.name for it in plan(head=None, all={"thaw": "all", "epochs": 1}).phases] == ["all"]


@pytest.mark.parametrize("phases", [{}, {"head": None}, {"head": None, "all": None}])
def test_a_plan_without_phases_is_refused(phases: dict[str, None]) -> None:
    with pytest.raises(PlanError, match="the plan has no phases"):
        plan(**phases)


@pytest.mark.parametrize(
    ("wrong", "where", "said"),
    [
        ({"epochs": 0}, ".epochs", "phase 'it' has 0 epochs"),
        ({"epochs": -2}, ".epochs", "phase 'it' has -2 epochs"),
        ({"lr_scale": 0}, ".lr_scale", "phase 'it' trains nothing: its learning rate is scaled by 0"),
        ({"lr_scale": -0.1}, ".lr_scale", "phase 'it' trains nothing: its learning rate is scaled by -0.1"),
        ({"layer_decay": 0}, ".layer_decay", "layer_decay 0, outside 0 < layer_decay <= 1"),
        ({"layer_decay": 1.2}, ".layer_decay", "layer_decay 1.2, outside 0 < layer_decay <= 1"),
        ({"warmup_epochs": -1}, ".warmup_epochs", "warms up for -1 of its 3 epochs"),
        ({"warmup_epochs": 4}, ".warmup_epochs", "warms up for 4 of its 3 epochs"),
        ({"until": {"patience": 0}}, "", "it.until.patience: 0 is not a whole number x with x > 0 or null"),
        ({"until": {"patients": 2}}, "", "did you mean patience?"),
        ({"until": 3}, "", "it.until: 3 is not settings, such as {patience: 3}"),
        ({"thaw": []}, "", "has an empty list in `thaw`"),
        ({"only": []}, "", "has an empty list in `only`"),
        ({"only": "norm"}, "", "it.only: 'norm' is not one of norms, biases"),
        ({"start_from": "best"}, ".start_from", "starts from the best epoch so far, but it is the first phase"),
        ({"epoch": 3}, "", "epoch: frostline.plan.phase.Phase has no such setting; did you mean epochs?"),
    ],
)
def test_a_wrong_setting_is_refused_where_it_stands(wrong: dict[str, Any], where: str, said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)) as raised:
        plan(it={"thaw": "all", "epochs": 3, **wrong})
    assert raised.value.where == f"schedule.phases.it{where}"
    assert raised.value.next_step


def test_every_missing_and_every_unknown_setting_is_told_at_once() -> None:
    with pytest.raises(PlanError) as raised:
        Plan.from_config({"it": {"thow": "all", "curve": "cosine"}}, {}, asdict(NO_AVERAGE))
    assert "it.thow: frostline.plan.phase.Phase has no such setting; did you mean thaw?" in raised.value.what
    lacking = ["thaw", "only", "epochs", "lr_scale", "layer_decay", "warmup_epochs", "weight_decay", "optimizer"]
    lacking += [
        "norm",
        "l2_sp",
        "start_from",
        "solve",
        "min_steps",
        "views",
        "monitor",
        "mode",
        "patience",
        "min_delta",
    ]
    assert re.findall(r"(\w+) is missing", raised.value.what) == lacking


def test_the_range_of_a_phase_made_in_python_is_checked_by_its_plan() -> None:
    with pytest.raises(PlanError, match="0 epochs"):
        Plan((phase(), phase(epochs=0)), NO_AVERAGE)


@pytest.mark.parametrize(
    "wrong",
    [{"curve": "cosin"}, {"epochs": "three"}, {"epochs": 2.5}, {"thaw": 1.5}, {"thaw": True},
     {"until": {"patience": "x"}}, {"warmup_epochs": True}],
    ids=str,
)  # fmt: skip
def test_a_setting_of_the_wrong_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        plan(it={"thaw": "all", "epochs": 3, **wrong})


# --- what is thawed ---


@given(st.integers(-5, 5))
def test_a_number_of_blocks_counts_from_the_top_and_a_negative_one_from_the_stem(number: int) -> None:
    thawed = phase(thaw=number).thawed(BLOCKS)
    assert thawed == (BLOCKS[:-number] if number < 0 else BLOCKS[5 - number :])
    assert phase(thaw=number).frost_line(BLOCKS) == (0 if number < 0 else 5 - number)


def test_a_list_thaws_those_blocks_alone_in_the_order_of_the_backbone() -> None:
    it = phase(thaw=["layer3", "layer1"])
    assert it.thawed(BLOCKS) == ["layer1", "layer3"]
    assert it.frost_line(BLOCKS) == 1


def test_each_is_a_phase_per_block_with_one_more_each_time() -> None:
    folded = Plan((phase("head", thaw="none"), phase("down", thaw="each", epochs=1), phase("all")), NO_AVERAGE)
    unfolded = folded.unfolded(BLOCKS)
    names = ["down-layer4", "down-layer3", "down-layer2", "down-layer1", "down-stem"]
    assert [it.name for it in unfolded.phases] == ["head", *names, "all"]
    assert [it.thawed(BLOCKS) for it in unfolded.phases[1:6]] == [BLOCKS[5 - n :] for n in range(1, 6)]
    assert {it.epochs for it in unfolded.phases[1:6]} == {1}


def test_two_phases_of_one_name_are_refused() -> None:
    """A resume finds its phase by name."""
    folded = Plan((phase("down", thaw="each"), phase("down-layer3", thaw=2)), NO_AVERAGE)
    with pytest.raises(PlanError, match="two phases are called 'down-layer3'"):
        folded.unfolded(BLOCKS)


@pytest.mark.parametrize(
    ("pretrained", "samples", "norm"),
    [(True, 100, "frozen"), (True, 20_000, "frozen"), (True, 20_001, "adapt"), (False, 100, "adapt")],
)
def test_norms_keep_the_statistics_of_weights_that_come_pretrained_where_few_samples_would_change_them(
    pretrained: bool, samples: int, norm: str
) -> None:
    phases = tuple(phase(norm, norm=norm) for norm in ("auto", "adapt", "frozen"))
    settled = settle(Plan(phases, NO_AVERAGE), pretrained=pretrained, samples=samples)
    assert [each.norm for each in settled.phases] == [norm, "adapt", "frozen"]


def settle(plan: Plan, **said: Any) -> Plan:
    return plan.settled(**{"pretrained": True, "samples": 100, "steps_per_epoch": 5, "solvable": True, **said})


@pytest.mark.parametrize(
    ("settings", "solvable", "solved"),
    [
        ({"thaw": "none"}, True, True),
        ({"thaw": "none"}, False, False),
        ({"thaw": "none", "solve": False}, True, False),
        ({"thaw": "none", "optimizer": {"_target_": "torch.optim.SGD"}}, True, False),
        ({"thaw": 1}, True, False),
        ({"thaw": "all"}, True, False),
    ],
)
def test_a_head_that_learns_alone_is_solved_in_one_epoch_at_no_rate(
    settings: dict[str, Any], solvable: bool, solved: bool
) -> None:
    (settled,) = settle(Plan((phase("it", **{"solve": True, **settings}),), NO_AVERAGE), solvable=solvable).phases
    assert (settled.solve, settled.epochs) == ((True, 1) if solved else (False, 3))
    assert [settled.rate(depth) for depth in (0, 2)] == ([0.0, 0.0] if solved else [1.0, 1.0])


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 40), (3, 14), (13, 4), (14, 3), (1000, 3)])
def test_small_data_has_epochs_until_the_steps_are_made(steps_per_epoch: int, epochs: int) -> None:
    (settled,) = settle(Plan((phase("it", min_steps=40),), NO_AVERAGE), steps_per_epoch=steps_per_epoch).phases
    assert settled.epochs == epochs


# --- how deep a phase with `thaw: auto` thaws ---


def test_auto_becomes_so_many_blocks_from_the_top() -> None:
    plan = Plan((phase("head", thaw="none"), phase("top", thaw="auto"), phase("all")), NO_AVERAGE)
    assert plan.open_phases == ["top"]
    assert [it.thaw for it in plan.deep(2).phases] == ["none", 2, "all"]
    assert plan.deep(2).open_phases == []


def test_a_depth_that_is_not_chosen_yet_thaws_nothing_by_mistake() -> None:
    with pytest.raises(RuntimeError, match="not chosen yet"):
        phase("top", thaw="auto").thawed(BLOCKS)
