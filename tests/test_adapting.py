"""Plans with an adapter."""

from typing import Any

import pytest

from conftest import make_phase
from frostline.errors import PlanError
from frostline.plan.phases import NO_AVERAGE, Plan
from frostline.plan.with_adapters import adapted_blocks, with_adapter

BLOCKS = ["stem", "middle", "top"]


def plan(**phases: dict[str, Any]) -> Plan:
    return Plan(tuple(make_phase(name, **settings) for name, settings in phases.items()), NO_AVERAGE)


def only(it: Plan) -> list[Any]:
    return [phase.only for phase in it.phases]


HEAD = {"thaw": "none"}


def test_a_plan_that_does_not_speak_of_adapters_learns_by_them_what_it_thaws_whole() -> None:
    it = plan(head=HEAD, none={"thaw": 0}, top={"thaw": 1}, bits={"only": ["norms", "biases"]}, all={})
    assert only(with_adapter(it, adapter=True)) == [None, None, "adapters", ["norms", "biases"], "adapters"]
    assert with_adapter(it, adapter=False) == it


@pytest.mark.parametrize("said", ["adapters", ["adapters", "norms"]])
def test_a_plan_that_speaks_of_adapters_is_taken_as_it_says(said: Any) -> None:
    it = plan(head=HEAD, adapters={"only": said}, all={})
    assert with_adapter(it, adapter=True) == it


def test_adapters_stand_in_the_blocks_where_they_learn_by_themselves() -> None:
    assert adapted_blocks(plan(head=HEAD, top={"thaw": 1, "only": "adapters"}, all={}), BLOCKS) == ["top"]
    assert adapted_blocks(plan(a={"thaw": ["stem"], "only": ["adapters"]}, b={"thaw": "top", "only": "adapters"}),
                          BLOCKS) == ["stem", "top"]  # fmt: skip
    each = with_adapter(plan(down={"thaw": "each"}), adapter=True)
    assert adapted_blocks(each.unfolded(BLOCKS), BLOCKS) == BLOCKS
    assert adapted_blocks(plan(all={}), BLOCKS) == []


@pytest.mark.parametrize(
    ("phases", "adapter", "message", "where"),
    [
        ({"a": {"only": "adapters"}}, False, "but adapter=none", "schedule.phases.a.only"),
        ({"head": HEAD}, True, "no phase of the plan trains the adapter", "schedule"),
        ({"bits": {"only": "biases"}}, True, "no phase of the plan trains the adapter", "schedule"),
        ({"a": {"only": "adapters", "thaw": "none"}}, True, "no phase of the plan trains the adapter", "schedule"),
        ({"all": {"l2_sp": 0.1}}, True, "`l2_sp` has no pretrained weights to pull", "schedule.phases.all.l2_sp"),
    ],
)
def test_plans_that_would_do_nothing_of_what_is_asked_are_refused(
    phases: dict[str, Any], adapter: bool, message: str, where: str
) -> None:
    with pytest.raises(PlanError, match=message) as refused:
        with_adapter(plan(**phases), adapter=adapter)
    assert refused.value.where == where


def test_a_pull_holds_in_the_phase_of_everything() -> None:
    it = plan(adapters={"only": ["adapters", "norms"], "l2_sp": 0.1}, all={"l2_sp": 0.1})
    assert with_adapter(it, adapter=True) == it
