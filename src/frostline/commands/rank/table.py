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
    seconds_probes: when they were fitted. found, made: rows of features that were cached or computed. problem: why the
    model was not ranked; the other fields are then empty.
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


def print_ranking(rows: Sequence[Ranked], num_val: int, files: Sequence[Path], following: Sequence[str]) -> None:
    """rows: at least one without a problem. following: the arguments of the next `frostline train`."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "model" else "right", no_wrap=True)
    good = [row for row in rows if not row.problem]
    for row in good:
        table.add_row(*_cells(row))
    console = console_of_width()
    console.print(table)
    print_problems(rows[len(good) :], {})
    best = good[0].linear_probe
    error = math.sqrt(best * (1 - best) / num_val)
    console.print(f"k-NN and linear probe: val/accuracy, n = {num_val}, standard error of the best {error:.4f}")
    for file in files:
        console.print(f"{file.suffix[1:]:10}  {file}")
    if following:
        console.print(f"next        {program()} {shlex.join(['train', *following])}")


def print_problems(rows: Sequence[Ranked], steps: Mapping[str, str]) -> None:
    """steps: the next step per model name, if there is one."""
    console = console_of_width()
    for row in rows:
        console.print(f"not ranked  {row.model}: {row.problem}")
        if row.model in steps:
            console.print(with_program(f"  next:  {steps[row.model]}"))


def _cells(row: Ranked) -> list[str]:
    return [
        row.model,
        f"{row.parameters:,}",
        f"{row.features:,}",
        f"{row.gflop:.2f}",
        f"{row.evidence:.4f}",
        f"{row.knn:.4f}",
        f"{row.linear_probe:.4f}",
        f"{row.seconds_pass:.1f} s",
        f"{row.seconds_probes:.1f} s",
        f"{row.found / (row.found + row.made):.0%}" if row.found + row.made else "no",
    ]
