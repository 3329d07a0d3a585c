"""What counts as a change of a sweep's configuration."""

from typing import Any

import pytest

from frostline.runs.folder import changed_settings

PLAN: dict[str, Any] = {"phases": {"head": {"epochs": 1}}}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b was 1 and is 2"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a was [1] and is [1, 2]"]),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, []),  # of a later version
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, []),
        ({"data": {"dir": "x", "num_workers": 0}}, {"data": {"dir": "y", "num_workers": 2}}, []),
        ({"sweep": {"test": "all"}, "hydra": {"a": 1}}, {"sweep": {"test": "none"}, "hydra": {"a": 2}}, []),
        ({"schedule": PLAN}, {"schedule": {"phases": {"all": {"epochs": 1}}}},
         ["there is no phase head any more", "phase all is new"]),
        ({"schedule": PLAN}, {"schedule": {"phases": {"head": {"epochs": 1, "new": 3}}}}, []),
        ({"schedule": PLAN}, {"schedule": {"phases": "none"}}, ["there is no phase head any more"]),
    ],
)  # fmt: skip
def test_changes_that_count_are_named(before: dict[str, Any], now: dict[str, Any], said: list[str]) -> None:
    assert changed_settings(before, now) == said
