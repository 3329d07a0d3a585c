"""The table of a plan, printed before its first step."""

import re
from collections.abc import Iterator, Sequence

from frostline.plan.phase import Phase
from frostline.report.summary import SOLVED, console_of_width, learns, phase_table
from frostline.training.forecast import PlannedPhase

OF_STEPS = "epochs|lr_scale|layer_decay|warmup_epochs|curve|weight_decay|min_steps|until"  # keys of a phase
COLUMNS = ("phase", "learns", "learning rate", "decay", "parameters", "epochs", "steps", "≈ time", "≈ memory")


def print_plan(rows: list[PlannedPhase]) -> None:
    table = phase_table(COLUMNS)
    for row in rows:
        table.add_row(*_cells(row))
    console = console_of_width()
    if not rows:
        console.print("\nNothing is trained: the features of the pretrained network are scored as they are.\n")
        return
    console.print(table)
    width = max(len(row.name) for row in rows)
    for row in rows:
        console.print(f"  {row.name:{width}}   {_remark(row)}")
    console.print()


def markdown(rows: list[PlannedPhase]) -> str:
    """Format the table for TensorBoard's text tab."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(row) for row in rows)]
    remarks = [f"{row.name}: {_remark(row)}" for row in rows]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + [f"\n{remark}" for remark in remarks])


def unused_by_solving(overrides: Sequence[str], rows: Sequence[PlannedPhase]) -> Iterator[str]:
    """Yield a sentence for the typed settings of steps that solved phases do not take. overrides: as typed."""
    solved = [row.name for row in rows if row.solved]
    if not solved:
        return
    phases = rf"phases\.(?:{'|'.join(map(re.escape, solved))})"
    places = [rf"schedule\.{phases}\.(?:{OF_STEPS})"]
    if len(solved) == len(rows):
        places += [rf"schedule\.every_phase\.(?:{OF_STEPS})", "optimizer"]
    found = [it for it in overrides if re.match(rf"\+*(?:{'|'.join(places)})[.=]", it)]
    if found:
        yield (
            f"phase {', '.join(solved)}: the head is solved, not stepped, so {' and '.join(found)} "
            f"{'has' if len(found) == 1 else 'have'} no effect; "
            "schedule.every_phase.solve=false trains it step by step"
        )


def longer_phases(phases: Sequence[Phase], rows: Sequence[PlannedPhase]) -> Iterator[str]:
    """Yield a sentence about each phase that has more epochs than its plan. phases: as written in the plan, where
    `thaw: each` is one phase."""
    for phase in phases:
        named = {phase.name, *(f"{phase.name}-{row.blocks[-1]}" for row in rows if row.blocks)}
        more = next((row.epochs for row in rows if row.name in named and row.epochs > phase.epochs), None)
        if more is not None:
            yield (
                f"phase {phase.name}: {more} epochs instead of {phase.epochs}, for min_steps={phase.min_steps}; "
                f"schedule.phases.{phase.name}.epochs={phase.epochs} trains no more"
            )


def _remark(row: PlannedPhase) -> str:
    """Describe the cache's choice, if the phase has frozen blocks, and the augmentation."""
    return f"{row.frozen}; {row.shown}" if row.frozen else row.shown


def _cells(row: PlannedPhase) -> list[str]:
    return [
        row.name,
        learns(row.blocks),
        SOLVED if row.solved else _span(row.rates),
        "-" if row.solved else _span(row.decays),
        f"{row.parameters:,}",
        str(row.epochs),
        "-" if row.solved else f"{row.steps:,}",
        "-" if row.seconds is None else duration(row.seconds),
        "-" if row.memory is None else f"{row.memory / 2**30:.2f} GiB",
    ]


def _span(values: tuple[float, float]) -> str:
    low, high = values
    return f"{high:.2g}" if low == high else f"{high:.2g} … {low:.2g}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
