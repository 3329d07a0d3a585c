"""Plan and data decide which views a phase shows; the cache setting also decides what is cached."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from conftest import make_phase
from frostline.errors import ConfigError
from frostline.frozen.policy import Choice, Line, Reuse, Samples, Shown, choices, views_of
from frostline.plan.phases import NO_AVERAGE, Plan

BLOCKS = ["stem", "middle", "top"]
# Outputs of the stem are read no faster than they are computed; those of all blocks are worth keeping.
LINES = [Line(100, 0.0), Line(100, 1e3), Line(100, 1e6), Line(10, 2e6)]
SAMPLES = Samples(1000, 100, augmented=True, mixed=False, whole_epochs=True)


def plan(*phases: dict[str, Any]) -> Plan:
    made = [make_phase(f"p{number}", **{"views": "auto", **phase}) for number, phase in enumerate(phases)]
    return Plan(tuple(made), NO_AVERAGE)


def shown(*phases: dict[str, Any], samples: Samples = SAMPLES) -> list[int | None]:
    return [it.views for it in views_of(plan(*phases), BLOCKS, LINES, samples)]


def made(
    *phases: dict[str, Any], samples: Samples = SAMPLES, when: Any = "auto", gigabytes: float = 20, hindrance: str = ""
) -> list[Choice]:
    what, reuse = plan(*phases), Reuse(when, None, gigabytes)
    return choices(reuse, what, BLOCKS, LINES, samples, views_of(what, BLOCKS, LINES, samples), hindrance)


@pytest.mark.parametrize(
    ("phase", "views"),
    [
        ({"thaw": "none"}, 0),
        ({"thaw": "none", "epochs": 1}, None),  # nothing is computed twice
        ({"thaw": 1}, 0),
        ({"thaw": 2}, None),  # what the stem gives is computed as fast as it is read
        ({"thaw": "all"}, None),
        ({"thaw": "all", "views": "none"}, 0),
        ({"thaw": "all", "views": 2}, 2),
        ({"thaw": "none", "views": "fresh"}, None),
        ({"thaw": "none", "views": 2}, 2),
        ({"thaw": "none", "views": 8}, 3),  # as many as it has epochs
        ({"thaw": "none", "views": "fresh", "solve": True}, 0),
    ],
    ids=str,
)
def test_what_one_phase_shows(phase: dict[str, Any], views: int | None) -> None:
    assert shown(phase) == [views]
    assert shown(phase, samples=SAMPLES._replace(augmented=False)) == [0]


def test_augmentation_is_given_up_in_one_epoch_whose_outputs_are_made_on_the_way() -> None:
    assert shown({"thaw": "none"}, {"thaw": 1, "epochs": 1}) == [0, 0]
    assert shown({"thaw": "none", "views": "fresh"}, {"thaw": 1, "epochs": 1}) == [None, None]
    assert shown({"thaw": "none", "views": 2}, {"thaw": 1, "epochs": 1}) == [2, None]


def test_augmentation_stays_where_outputs_are_too_many_or_epochs_are_cut() -> None:
    assert shown({"thaw": "none"}, samples=SAMPLES._replace(train=3_000_000_000)) == [None]
    assert shown({"thaw": "none"}, samples=SAMPLES._replace(whole_epochs=False)) == [None]


PHASES = [{"thaw": "none"}, {"thaw": 1, "epochs": 1}, {"thaw": 2}, {"thaw": 1, "views": 2}, {"thaw": "all"}]


def test_no_setting_of_the_cache_and_no_hardware_changes_what_is_shown() -> None:
    tried = [
        made(*PHASES, when=when, gigabytes=gigabytes, hindrance=hindrance)
        for when, gigabytes, hindrance in itertools.product(("auto", "never"), (20, 1e-9), ("", "sharded"))
    ]
    tried.append(made(*PHASES, when="always"))
    assert [[choice.views for choice in each] for each in tried] == [[0, 0, None, 2, None]] * len(tried)
    assert [choice.kept for choice in tried[0]] == [True, True, False, True, False]
    assert not any(choice.kept for each in tried[1:-1] for choice in each)


def test_always_keeps_what_the_views_of_the_plan_allow() -> None:
    always = made({"thaw": 2, "views": "none"}, {"thaw": 2, "views": 2}, *PHASES, when="always")
    assert [choice.kept for choice in always] == [True, True, True, True, False, True, False]
    assert always[4].why_not == "computing it again takes no longer than reading it"
    (fresh,) = made({"thaw": 1, "views": "fresh"}, when="always", gigabytes=1e-9, hindrance="sharded")
    assert fresh.why_not == "no view is shown twice"
    mixed = SAMPLES._replace(mixed=True)
    kept = made({"thaw": 1, "views": 2}, {"thaw": 1}, when="always", samples=mixed)
    assert [choice.kept for choice in kept] == [False, True]
    assert "samples are mixed" in kept[0].why_not


@pytest.mark.parametrize(
    "but", [{"gigabytes": 1e-9}, {"hindrance": "sharded"}, {"samples": SAMPLES._replace(whole_epochs=False)}], ids=str
)
def test_always_raises_for_another_reason_than_the_views(but: dict[str, Any]) -> None:
    phases = [{"thaw": "all"}, {"thaw": 1, "views": "none"}]
    assert made(*phases, when="always")[1].kept
    with pytest.raises(ConfigError, match="phase 'p1' cannot cache the outputs of its frozen blocks"):
        made(*phases, when="always", **but)


def test_lower_outputs_are_not_on_the_way_of_other_views() -> None:
    """Outputs of pictures without augmentation are not reused by a phase with augmented views."""
    first, second = made({"thaw": "none"}, {"thaw": 1, "views": 2})
    assert (first.passes, second.passes) == ((1, 3), (2, 3))


def test_a_given_list_of_views_decides() -> None:
    what = replace(plan({"thaw": "none"}), average=NO_AVERAGE)
    (choice,) = choices(Reuse("auto", None, 20), what, BLOCKS, LINES, SAMPLES, [Shown(None)], "")
    assert (choice.views, choice.kept, choice.why_not) == (None, False, "no view is shown twice")
