"""Print how two runs compare."""

from pathlib import Path

from rich import box
from rich.table import Table

from frostline.errors import one_line
from frostline.report.pairs import Answers, Difference, Differing
from frostline.report.summary import console_of_width

CLEAR = 0.05  # chance below which McNemar's test calls runs different


def print_comparison(
    runs: tuple[Path, Path], found: list[Difference], answers: Answers | None, others: Differing | None
) -> None:
    console = console_of_width()
    for label, run in zip(("first", "second"), runs, strict=True):
        console.print(f"{label:7} {run}")
    if found:
        console.print(_scores(found))
        console.print("[low, high] holds the difference in 95 % of draws of the samples (paired bootstrap)")
    for caution in dict.fromkeys(it.caution for it in found if it.caution):
        console.print(f"do not trust the intervals: {caution}")
    if answers is not None:
        right = (
            f"right: {answers.both:,} by both, {answers.first:,} by the first alone, {answers.second:,} by the second"
        )
        console.print(f"{right} alone, {answers.neither:,} by neither")
        console.print(_test(answers))
    if others is not None:
        console.print(f"{others.number:,} of {others.of:,} answers differ")
        if others.shown:
            console.print(_differing(others))


def _scores(found: list[Difference]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("score", "first", "second", "difference", "low", "high", "clear"):
        table.add_column(column, justify="left" if column == "score" else "right", no_wrap=True)
    for it in found:
        numbers = (it.first, it.second, it.second - it.first, it.low, it.high)
        cells = [f"{value:+.4f}" if at > 1 else f"{value:.4f}" for at, value in enumerate(numbers)]
        table.add_row(it.name, *cells, "-" if it.caution else "yes" if it.significant else "no")
    return table


def _test(answers: Answers) -> str:
    if answers.chance is None:
        return "samples of a group are not independent, which McNemar's test needs: see the interval"
    verdict = "different" if answers.chance < CLEAR else "not shown to be different"
    return f"McNemar's test: p = {answers.chance:.3g}, {verdict}"


def _differing(others: Differing) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("sample", "target", "first", "second"):
        table.add_column(column, overflow="fold")
    for row in others.shown:
        table.add_row(*map(one_line, row))
    if others.number > len(others.shown):
        table.add_row(f"and {others.number - len(others.shown):,} more", "", "", "")
    return table
