"""The table of `frostline compare`."""

import io

import pytest
from rich.console import Console

from frostline.report.comparison import _scores
from frostline.report.pairs import Difference


@pytest.mark.parametrize("width", [160, 80, 70, 60])
def test_no_score_of_a_comparison_is_cut_off(width: int) -> None:
    long = "test/mean_absolute_error"
    found = [Difference("test/accuracy", 0.86, 0.85, -0.02, 0.01, ""), Difference(long, 123.4567, 130.1, 1.2, 10.3, "")]
    console = Console(width=width, file=io.StringIO(), soft_wrap=True, markup=False)  # as `console_of_width` makes it
    console.print(_scores(found, width))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, drawn.splitlines())) <= width
    for number in ("0.8600", "0.8500", "-0.0100", "-0.0200", "123.4567", "130.1000", "+6.6433", "+1.2000", "+10.3000"):
        assert drawn.count(number) == 1
    assert "…" not in drawn
    assert ("[low, high]" in drawn) == (width < 100)
    assert ("mean_absolute_error" in drawn) == (width > 60)  # the names break first
