"""Print the suggestions of a range test, and the command to type next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from frostline.commands.lr_find.range_test import NUMBERS, PICTURE, RateCurve
from frostline.quoting import program
from frostline.report.summary import console_of_width, learns


def print_rates(
    curves: Sequence[RateCurve], settings: Mapping[str, float], folder: Path, following: Sequence[str]
) -> None:
    """settings: the suggested settings by key. following: the next command and its arguments."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("phase", "learns", "suggested optimizer.lr", "rates tried", "steps"):
        table.add_column(column, justify="left" if column in ("phase", "learns") else "right", no_wrap=True)
    for curve in curves:
        table.add_row(*_cells(curve))
    console = console_of_width()
    console.print(table)
    for line in _remarks(curves, settings):
        console.print(line)
    console.print(f"picture  {folder / PICTURE}")
    console.print(f"numbers  {folder / NUMBERS}")
    console.print(f"next     {program()} {shlex.join(following)}")


def _cells(curve: RateCurve) -> list[str]:
    return [
        curve.phase,
        learns(curve.learns),
        "–" if curve.suggestion is None else f"{curve.suggestion:g}",
        f"{curve.test.lowest:.2g} … {curve.rates[-1]:.2g}",
        f"{len(curve.losses)} of {curve.test.steps}" if curve.diverged else str(curve.test.steps),
    ]


def _remarks(curves: Sequence[RateCurve], settings: Mapping[str, float]) -> list[str]:
    """Explain missing suggestions, and suggestions that differ between phases."""
    silent = [curve.phase for curve in curves if curve.suggestion is None]
    scales = [f"{key}={value:g}" for key, value in settings.items() if key.endswith(".lr_scale")]
    remarks = []
    if silent:
        names = ", ".join(silent)
        steps = f"lr_find.steps={3 * curves[0].test.steps}"
        remarks.append(f"No rate stands out in {names}: try {steps} or other rates; or there is little to learn.")
    if scales:
        base = f"optimizer.lr={settings['optimizer.lr']:g}"
        remarks.append(f"The phases suggest different base rates; with {base}, use {' '.join(scales)}")
    return remarks
