"""What a run is about to do: a row per phase, from the very groups that its optimizer gets."""

from typing import NamedTuple

from frostline.report.summary import SOLVED, console_of_width, learns, phase_table

COLUMNS = ("phase", "learns", "learning rate", "decay", "parameters", "epochs", "steps", "≈ time", "≈ memory")


class PlannedPhase(NamedTuple):
    """rates, decays: lowest and highest of the groups. seconds: on one device of this kind, validation left out; None
    where it could not be estimated. memory in bytes. frozen: a sentence on the outputs of frozen blocks.
    solved: whether the head's weights are computed, and no steps are made."""

    name: str
    blocks: list[str]
    rates: tuple[float, float]
    decays: tuple[float, float]
    parameters: int
    epochs: int
    steps: int
    seconds: float | None
    memory: float | None
    frozen: str
    solved: bool

    def cells(self) -> list[str]:
        return [
            self.name,
            learns(self.blocks),
            SOLVED if self.solved else _span(self.rates),
            "-" if self.solved else _span(self.decays),
            f"{self.parameters:,}",
            str(self.epochs),
            "-" if self.solved else f"{self.steps:,}",
            "-" if self.seconds is None else duration(self.seconds),
            "-" if self.memory is None else f"{self.memory / 2**30:.2f} GiB",
        ]


def print_plan(rows: list[PlannedPhase]) -> None:
    table = phase_table(COLUMNS)
    for row in rows:
        table.add_row(*row.cells())
    console = console_of_width()
    console.print(table)
    width = max(len(row.name) for row in rows)
    for row in rows:
        if row.frozen:
            console.print(f"  {row.name:{width}}   {row.frozen}")
    console.print()


def markdown(rows: list[PlannedPhase]) -> str:
    """For TensorBoard's text tab."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    remarks = [f"{row.name}: {row.frozen}" for row in rows if row.frozen]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + [f"\n{remark}" for remark in remarks])


def _span(values: tuple[float, float]) -> str:
    low, high = values
    return f"{high:.2g}" if low == high else f"{high:.2g} … {low:.2g}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
