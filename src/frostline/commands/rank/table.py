"""The ranking of backbones as a table and a CSV."""

import csv
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich import box
from rich.table import Table

from frostline.quoting import program, with_program
from frostline.report.summary import console_of_width

COLUMNS = ("model", "parameters", "features", "GFLOP", "LogME", "k-NN", "linear probe", "pass", "probes", "cached")


@dataclass(frozen=True)
class Ranked:
    """A row of the ranking. parameters: of the backbone. features: their width D. gflop: of the forward pass of a
    sample; a multiply-add counts as two. seconds_pass: over both splits, without features that were cached.
    seconds_probes: when they were fitted. found, made: samples whose features were cached or computed. problem: why the
    model was not ranked; the other fields are then empty.

    num_train, num_val: rows on which probes were fitted and scored. num_found: rows from which they were drawn.
    standard_error: of the linear probe's accuracy. majority: accuracy of the class that most validation rows have.
    """

    model: str
    problem: str = ""
    weights: str = ""
    parameters: int = 0
    features: int = 0
    gflop: float = math.nan
    evidence: float = math.nan
    knn: float = math.nan
    linear_probe: float = math.nan
    seconds_pass: float = math.nan
    seconds_probes: float = math.nan
    found: int = 0
    made: int = 0
    num_train: int = 0
    num_val: int = 0
    num_found: int = 0
    standard_error: float = math.nan
    majority: float = math.nan


def ordered(rows: Sequence[Ranked]) -> list[Ranked]:
    """Sort by linear probe, best first, ties by LogME evidence; models with a problem come last."""
    good = [row for row in rows if not row.problem]
    good.sort(key=lambda row: (-row.linear_probe, -row.evidence))
    return good + [row for row in rows if row.problem]


def as_csv(rows: Sequence[Ranked]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Ranked)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: "" if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(row).items()}
        for row in rows
    )
    return text.getvalue()


def print_ranking(rows: Sequence[Ranked], scored: str, files: Sequence[Path], following: Sequence[str]) -> None:
    """rows: at least one without a problem. scored: what has a class each, such as cells; "" for samples. following:
    the arguments of the next `frostline train`."""
    good = [row for row in rows if not row.problem]
    console = console_of_width()
    console.print(_table(good, scored))
    print_problems(rows[len(good) :], {})
    for line in _explained(good, scored):
        console.print(line)
    for file in files:
        console.print(f"{file.suffix[1:]:10}  {file}")
    if following:
        console.print(f"next        {program()} {shlex.join(['train', *following])}")


def _table(good: Sequence[Ranked], scored: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        if column == "LogME" and scored:
            table.add_column(scored, justify="right", no_wrap=True)
        table.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    for row in good:
        table.add_row(*_cells(row, shows_number=bool(scored)))
    return table


def _explained(good: Sequence[Ranked], scored: str) -> list[str]:
    """What the scores are of, and how far they can be trusted."""
    best = good[0]
    error = f"standard error of the best {best.standard_error:.4f}"
    if not scored:
        return [f"k-NN and linear probe: val/accuracy, n = {best.num_val}, {error}"]
    lines = [f"k-NN and linear probe: val/accuracy of {scored}, {error}, the most frequent class {best.majority:.4f}"]
    if drawn := [row for row in good if row.num_found > row.num_train + row.num_val]:
        most = max(row.num_train for row in drawn), max(row.num_val for row in drawn)
        names = ", ".join(row.model for row in drawn)
        lines.append(f"drawn       at most {most[0]:,} {scored} of train and {most[1]:,} of val: {names}")
    if len({row.num_found for row in good}) > 1:
        lines.append(f"caution     not all models are scored on the same {scored}: maps or inputs differ in size")
    return lines


def print_problems(rows: Sequence[Ranked], steps: Mapping[str, str]) -> None:
    """steps: the next step per model name, if there is one."""
    console = console_of_width()
    for row in rows:
        console.print(f"not ranked  {row.model}: {row.problem}")
        if row.model in steps:
            console.print(with_program(f"  next:  {steps[row.model]}"))


def _cells(row: Ranked, *, shows_number: bool) -> list[str]:
    return [
        row.model,
        f"{row.parameters:,}",
        f"{row.features:,}",
        f"{row.gflop:.2f}",
        *([f"{row.num_val:,}"] if shows_number else []),
        f"{row.evidence:.4f}",
        f"{row.knn:.4f}",
        f"{row.linear_probe:.4f}",
        f"{row.seconds_pass:.1f} s",
        f"{row.seconds_probes:.1f} s",
        f"{row.found / (row.found + row.made):.0%}" if row.found + row.made else "no",
    ]
