"""Durations and memory, as the table of a plan prints them."""

import pytest

from frostline.report.plan_table import duration


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [
        (0.4, "0 s"),
        (1, "1 s"),
        (89, "89 s"),
        (90, "2 min"),  # 1.5, to the even number
        (150, "2 min"),
        (600, "10 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (36_000, "10.0 h"),
    ],
)
def test_a_duration_is_printed_in_its_unit(seconds: float, printed: str) -> None:
    assert duration(seconds) == printed
