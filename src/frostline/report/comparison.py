"""Print how two runs compare."""

from pathlib import Path
from typing import Literal

from rich import box
from rich.table import Table

from frostline.errors import one_line
from frostline.report.pairs import Answers, Difference, Differing
from frostline.report.summary import console_of_width

CLEAR = 0.05  # chance below which McNemar's test calls runs different
NAME = 8  # minimum number of characters of a score's name in a line


def print_comparison(
    runs: tuple[Path, Path], found: list[Difference], answers: Answers | None, others: Differing | None
) -> None:
    console = console_of_width()
    for label, run in zip(("first", "second"), runs, strict=True):
        console.print(f"{label:7} {run}")
    if found:
        console.print(_scores(found, console.width))
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


def _scores(found: list[Difference], width: int) -> Table:
    """The table. If it would be wider than `width` characters, the interval stands below the difference; then names
    break. No number is cut: a table that is still wider goes beyond the terminal."""
    columns = ("score", "first", "second", "difference", "low", "high", "clear")
    rows = [columns, *map(_cells, found)]
    if 1 + sum(max(map(len, cells)) + 3 for cells in zip(*rows, strict=True)) > width:
        below = [
            (row[0].replace("/", "/\n"), *row[1:3], f"{row[3]}\n[{row[4]},\n{row[5]}]", row[6]) for row in rows[1:]
        ]
        rows = [("score", "first", "second", "difference\n[low, high]", "clear"), *below]
    table = Table(box=box.SIMPLE_HEAD)
    for head, *cells in zip(*rows, strict=True):
        is_name = head == "score"
        least = NAME if is_name else max(len(line) for cell in (head, *cells) for line in cell.split("\n"))
        justify: Literal["left", "right"] = "left" if is_name else "right"
        table.add_column(head, justify=justify, no_wrap=not is_name, overflow="fold", min_width=least)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _cells(it: Difference) -> tuple[str, ...]:
    numbers = (it.first, it.second, it.second - it.first, it.low, it.high)
    written = [f"{value:+.4f}" if at > 1 else f"{value:.4f}" for at, value in enumerate(numbers)]
    return (it.name, *written, "-" if it.caution else "yes" if it.significant else "no")


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
