"""The arithmetic of a range test: which rates, when it ends, what it suggests, what to type next."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_phase
from frostline.commands.lr_find.advice import advised, overrides_with
from frostline.commands.lr_find.range_test import FALLEN, RangeTest, RateCurve, diverges
from frostline.commands.lr_find.table import print_rates
from frostline.errors import ConfigError

TEST = RangeTest(steps=100, lowest=1e-6, highest=10.0)
tests = st.builds(RangeTest, steps=st.integers(10, 300), lowest=st.floats(1e-8, 1e-3), highest=st.floats(1e-2, 1000))
losses = st.lists(st.floats(0, 1e6), min_size=1, max_size=100)


def curve(losses: list[float], test: RangeTest = TEST, phase: str = "all") -> RateCurve:
    return RateCurve(phase, ["head"], test, losses, diverged=False)


def valley(bottom: int, *, steps: int = 100) -> list[float]:
    """Level for the first half of the way down, then straight down to 0.5 at `bottom`, and up steeply."""
    half = bottom // 2
    falling = [2.5 - 2.0 * max(0, step - half) / (bottom - half) for step in range(bottom + 1)]
    return falling + [0.5 + 0.5 * 2 ** (step - bottom) for step in range(bottom + 1, steps)]


# --- the test ---


@given(tests)
def test_rates_rise_from_the_lowest_to_the_highest_by_one_factor(test: RangeTest) -> None:
    rates = test.rates()
    assert len(rates) == test.steps
    assert (rates[0], rates[-1]) == pytest.approx((test.lowest, test.highest))
    factor = (test.highest / test.lowest) ** (1 / (test.steps - 1))
    assert all(later / earlier == pytest.approx(factor) for earlier, later in pairwise(rates))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 9}, "9 steps are too few"),
        ({"lowest": 1.0, "highest": 1.0}, "the lowest rate, 1, is not below the highest, 1"),
        ({"lowest": 2.0, "highest": 1e-3}, "the lowest rate, 2, is not below the highest, 0.001"),
    ],
)
def test_a_range_that_tells_nothing_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        RangeTest(**{"steps": 100, "lowest": 1e-6, "highest": 10.0, **wrong})
    assert "lr_find." in refused.value.next_step


@pytest.mark.parametrize("last", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_diverges(last: float) -> None:
    assert diverges([2.0, last], memory=5, worst=4)
    assert not diverges([2.0, 2.0], memory=5, worst=4)


def test_smoothing_without_a_bias_counts_the_first_loss_whole() -> None:
    """Smoothed from 0, the first losses would be far below those that follow, and every test would end at once."""
    assert not any(diverges([2.3] * count, memory=5, worst=4) for count in range(1, 50))


def test_it_diverges_beyond_four_times_the_best_and_not_at_one_wild_batch() -> None:
    assert not diverges([1.0] * 20 + [6.0], memory=5, worst=4)
    wild = [*[1.0] * 20, 1e6, *[1.0] * 20]  # the mean needs many steps to forget it
    assert not any(diverges(wild[:count], memory=5, worst=4) for count in range(1, len(wild) + 1))
    assert not diverges([1.0] * 20 + [3.9] * 50, memory=5, worst=4)
    assert diverges([1.0] * 20 + [4.5] * 50, memory=5, worst=4)
    assert not diverges([9.0] * 20 + [4.5] * 50, memory=5, worst=4), "it falls"
    assert not diverges([1.0] * 20 + [4.5] * 50, memory=5, worst=math.inf)


def test_small_losses_that_scatter_are_no_divergence() -> None:
    """A phase that has little left to learn."""
    small = [0.02, 0.3, 0.05, 0.01, 0.4, 0.02, 0.03, 0.35] * 10
    assert not any(diverges(small[:count], memory=5, worst=4) for count in range(1, len(small) + 1))
    assert diverges([*small, *[2.0] * 10], memory=5, worst=4)


# --- the curve ---


@given(losses)
def test_smoothed_losses_stay_within_the_losses(values: list[float]) -> None:
    smoothed = curve(values).smoothed
    assert len(smoothed) == len(values)
    room = 1e-9 * max(values)
    assert all(min(values) - room <= value <= max(values) + room for value in smoothed)


@given(st.floats(0.1, 10), st.integers(1, 100))
def test_what_is_level_stays_level(level: float, steps: int) -> None:
    assert curve([level] * steps).smoothed == pytest.approx([level] * steps)


def test_smoothing_from_both_sides_does_not_lag() -> None:
    """A V stays symmetric: its lowest point is where it was."""
    values = [1 + abs(step - 50) / 50 for step in range(101)]
    smoothed = curve(values, RangeTest(101, 1e-6, 10.0)).smoothed
    assert smoothed.index(min(smoothed)) == 50
    assert smoothed == pytest.approx(smoothed[::-1])


def test_the_suggestion_is_where_most_of_the_fall_is_made() -> None:
    it = curve(valley(bottom=80))
    assert it.suggestion is not None
    assert it.suggestion == float(f"{it.suggestion:.1e}"), "two digits"
    fall = it.smoothed[0] - min(it.smoothed)
    assert it.smoothed_at(it.suggestion) == pytest.approx(it.smoothed[0] - FALLEN * fall, abs=0.03 * fall)
    assert TEST.rates()[60] < it.suggestion < TEST.rates()[80], "on the way down"


def test_how_high_a_divergence_goes_does_not_matter() -> None:
    calm, wild = valley(bottom=80)[:90], valley(bottom=80)[:90]
    wild[86:] = [1e3, 1e4, 1e5, 1e6]
    calm[86:] = [2.5, 2.5, 2.5, 2.5]
    assert curve(wild).suggestion == curve(calm).suggestion


def test_one_wild_batch_on_the_way_down_hides_no_suggestion() -> None:
    calm, wild = valley(bottom=80)[:90], valley(bottom=80)[:90]
    wild[40] = 50.0
    assert curve(calm).suggestion is not None
    assert curve(wild).suggestion == pytest.approx(curve(calm).suggestion, rel=0.3)


@pytest.mark.parametrize("values", [[2.3] * 100, [2.3 + 0.1 * (-1) ** step for step in range(100)], [2.3], valley(2)])
def test_where_nothing_falls_nothing_is_suggested(values: list[float]) -> None:
    assert curve(values).suggestion is None


@given(tests, st.lists(st.floats(0, 1e6), min_size=300, max_size=300), st.integers(1, 300))
def test_a_suggestion_lies_within_the_rates_that_were_tried(test: RangeTest, values: list[float], steps: int) -> None:
    at = curve(values[: min(steps, test.steps)], test).suggestion
    assert at is None or test.lowest <= at <= test.highest


# --- what to type next ---


def told(phase: str, rate: float | None) -> RateCurve:
    found = curve([1.0], phase=phase)
    found.__dict__["suggestion"] = rate
    return found


def test_phases_that_agree_are_given_the_base_rate_of_the_first() -> None:
    phases = [make_phase("head"), make_phase("all", lr_scale=0.1)]
    assert advised([told("head", 0.01), told("all", 0.02)], phases, 0.002) == {"optimizer.lr": 0.01}


def test_a_phase_that_wants_another_base_rate_is_given_a_scale() -> None:
    phases = [make_phase("head"), make_phase("all", lr_scale=0.1)]
    assert advised([told("head", 0.01), told("all", 0.003)], phases, 0.002) == {
        "optimizer.lr": 0.01,
        "schedule.phases.all.lr_scale": pytest.approx(0.03),
    }


def test_a_phase_that_tells_nothing_keeps_its_rate() -> None:
    phases = [make_phase("head"), make_phase("all")]
    assert advised([told("head", 0.1), told("all", None)], phases, 0.002) == {
        "optimizer.lr": 0.1,
        "schedule.phases.all.lr_scale": pytest.approx(0.02),
    }
    assert advised([told("head", None), told("all", 0.02)], phases, 0.002) == {
        "optimizer.lr": 0.02,
        "schedule.phases.head.lr_scale": pytest.approx(0.1),
    }
    assert advised([told("head", None), told("all", 0.003)], phases, 0.002) == {"optimizer.lr": 0.003}
    assert advised([told("head", None), told("all", None)], phases, 0.002) == {}
    assert advised([told("all", 0.1)], phases, 0.002) == {"optimizer.lr": 0.1}  # the head is solved, at no rate


def test_an_optimizer_of_its_own_gets_a_rate_of_its_own() -> None:
    phases = [make_phase("head", optimizer={"_target_": "torch.optim.sgd.SGD"}), make_phase("all")]
    assert advised([told("head", 0.5), told("all", 0.001)], phases, 0.002) == {
        "schedule.phases.head.optimizer.lr": 0.5,
        "optimizer.lr": 0.001,
    }


def test_phases_that_are_written_as_one_get_the_lowest_of_their_scales() -> None:
    phases = [make_phase("head", thaw="none"), make_phase("down", thaw="each"), make_phase("down-all", thaw="all")]
    curves = [told("head", 0.01), told("down-top", 0.004), told("down-stem", 0.001), told("down-all", 0.01)]
    assert advised(curves, phases, 0.002) == {"optimizer.lr": 0.01, "schedule.phases.down.lr_scale": 0.1}


def test_the_next_command_says_what_was_typed_and_the_suggestions_instead_of_what_they_replace() -> None:
    config = {"optimizer": {"lr": 1e-3}, "schedule": {"phases": {"all": {"thaw": "all"}, "head": {"lr_scale": 1.0}}}}
    typed = ["--config-dir", "mine", "model=resnet18", "lr_find.steps=50", "optimizer.lr=0.3", "data.dir=a b"]
    found = {"optimizer.lr": 0.012, "schedule.phases.all.lr_scale": 0.03, "schedule.phases.head.lr_scale": 2.0}
    assert overrides_with(found, typed, config) == [
        "--config-dir", "mine", "model=resnet18", "data.dir=a b",
        "optimizer.lr=0.012", "+schedule.phases.all.lr_scale=0.03", "schedule.phases.head.lr_scale=2",
    ]  # fmt: skip


def test_a_setting_that_was_added_is_added_again() -> None:
    config = {"schedule": {"phases": {"all": {"lr_scale": 0.5}}}}
    typed = ["+schedule.phases.all.lr_scale=0.5"]
    assert overrides_with({"schedule.phases.all.lr_scale": 0.03}, typed, config) == [
        "+schedule.phases.all.lr_scale=0.03"
    ]


@pytest.mark.parametrize(("chosen", "line"), [({}, "lr_find lr_find.steps=300"), ({"optimizer.lr": 0.1}, "train a=1")])
def test_the_next_command_is_printed_as_it_is_typed(
    chosen: dict[str, float], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = curve([1.0], RangeTest(100, 1e-4, 1.0))
    found.__dict__["suggestion"] = chosen.get("optimizer.lr")
    print_rates([found], chosen, tmp_path, line.split())
    said = capsys.readouterr().out
    assert next(it for it in said.splitlines() if it.startswith("next")).endswith(f" {line}")
    assert ("try lr_find.steps=300" in " ".join(said.split())) == (not chosen)
