"""Print the summary of a finished run: phases, baselines, scores, next command."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from frostline.errors import one_line, shown
from frostline.quoting import program, setting_of
from frostline.report.baselines import baseline_lines
from frostline.report.score_intervals import cautions, without_bounds
from frostline.report.slices import slice_lines
from frostline.runs.record import Record

PER_LINE = 6  # scores
PAGE = "report.html"
SOLVED = "solved"  # shown in place of a learning rate


def print_run(record: Record, folder: Path, page_seconds: float | None = None) -> None:
    """page_seconds: that the run's page took; None if it has none."""
    console = console_of_width()
    table = phase_table(
        ["phase", "learns", "learning rate", "parameters", "epochs", "seconds", "samples/s", record.monitor]
    )
    for row in record.phases:
        rates = sorted(row["learning_rates"].values(), reverse=True)
        table.add_row(
            row["name"],
            learns(row["learns"]),
            SOLVED if row.get("solved") else _span(rates),
            f"{row['trainable_parameters']:,}",
            str(row["epochs"]),
            f"{row['seconds']:.1f}",
            f"{row['samples_per_second']:,.0f}",
            f"{row['val'].get(record.monitor, float('nan')):.4f}",
        )
    console.print()
    if record.phases:
        console.print(table)
    if record.baselines:
        for line in baseline_lines(record, program()):
            console.print(line)
    if record.averages:
        scores = [f"{row['name']}: {row['val'][record.monitor]:.4f}" for row in record.averages]
        console.print(f"mean  {record.monitor} of averages   {'   '.join(scores)}")
    if record.best is not None:
        score = f"{record.monitor} {record.metrics[record.monitor]:.4f}"
        epoch = f"phase {record.best['phase']}, epoch {record.best['epoch']}"
        highest = record.best.get("highest")
        latest = "" if highest is None else f" (the latest within one standard error of the highest, {highest:.4f})"
        console.print(f"best  {record.best['average'] or epoch}: {score}{latest}")
        for line in _in_vain(record):
            console.print(f"      {line}")
    print_test(record, console)
    if record.model.get("weights"):
        console.print(f"from  {shown(record.model['weights'])}")
    console.print(f"run   {folder}")
    if (settings := record.weights_settings) is not None:
        command = " ".join(["evaluate", setting_of("run", folder), *settings])
        console.print(f"next  {program()} {command}")
    if page_seconds is not None:
        console.print(f"page  {folder / PAGE}{_costly(page_seconds, record.seconds['total'])}")


def _costly(own: float, total: float) -> str:
    """Name the seconds of the page if they are more than a fiftieth of the run's."""
    return f" ({own:.1f} s; report=false leaves it out)" if own > 1 and own > total / 50 else ""


def _span(rates: list[float]) -> str:
    return f"{rates[0]:.2g}" if rates[0] == rates[-1] else f"{rates[0]:.2g} … {rates[-1]:.2g}"


def _in_vain(record: Record) -> list[str]:
    """Return a remark if the best epoch lies in a first phase that trained only the head, else an empty list."""
    best, phases = record.best or {}, record.phases
    if (
        best.get("average")
        or len(phases) < 2
        or best.get("phase") != phases[0]["name"]
        or phases[0]["learns"] != ["head"]
    ):
        return []
    later = sum(phase["seconds"] for phase in phases[1:])
    return [f"thawing for {later:.0f} s did not improve the score: schedule=head_only leaves it out"]


def print_test(record: Record, console: Console | None = None) -> None:
    """Print what a run's test split says: scores with intervals, how often the split was used, slices."""
    console = console or console_of_width()
    print_scores(record.metrics, console, record.intervals)
    if record.test_uses is not None and record.test_uses > 1:
        console.print(
            f"      {record.test_uses:,} runs were scored on this test split: the best of many is better by luck"
        )
    for line in slice_lines(record.slices):
        console.print(f"by    {shown(line)}")


def print_scores(
    metrics: dict[str, float],
    console: Console | None = None,
    intervals: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """intervals: `Record.intervals`."""
    console = console or console_of_width()
    if "test/n" not in metrics:  # it was not scored
        return
    names = without_bounds(name for name in metrics if name.startswith("test/") and name != "test/n")
    scores = [f"{name} {metrics[name]:.4f}" for name in names]
    console.print("test  " + _lines([*scores, f"(n = {metrics['test/n']:.0f})"]))
    ends = [f"{name} {own['low']:.4f} … {own['high']:.4f}" for name in names if (own := intervals.get(name))]
    if ends:
        console.print("95 %  " + "\n      ".join([_lines(ends), *cautions(intervals)]))


def _lines(words: Sequence[str]) -> str:
    return "\n      ".join("   ".join(words[start : start + PER_LINE]) for start in range(0, len(words), PER_LINE))


def print_classes(per_class: list[dict[str, float | str | None]]) -> None:
    """Print a row per class, label or target: name, scores, number of samples."""
    first, *others = per_class[0]
    scores = [name for name in others if name != "n"]
    table = Table(box=box.SIMPLE_HEAD)
    for column in (first, *scores, "n"):
        table.add_column(column, justify="left" if column == first else "right")
    for row in per_class:
        cells = [f"{row[name]:.4f}" if row[name] is not None else "-" for name in scores]
        table.add_row(one_line(str(row[first])), *cells, str(row["n"]))
    console_of_width().print(table)


def phase_table(columns: Sequence[str]) -> Table:
    """Create a table for one row per phase. Only the column `learns` wraps on a narrow terminal; no number is cut."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        is_text = column in ("phase", "learns")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=column != "learns")
    return table


def console_of_width() -> Console:
    """Create a console as wide as the terminal, or wide enough for every table if the output goes to a file: a COLUMNS
    that a shell exports is of its window. Brackets and colons in names of classes and folders are printed literally."""
    width = None if sys.stdout.isatty() else 160
    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False, width=width)


def learns(parts: list[str]) -> str:
    """Shorten a list of parts: `head`, `head, layer4`, or `head, layer4 … stem`."""
    return ", ".join(parts) if len(parts) <= 3 else f"{parts[0]}, {parts[1]} … {parts[-1]}"
