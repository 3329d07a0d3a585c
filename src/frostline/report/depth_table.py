"""The table of depths among which `thaw: auto` chooses."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from frostline.report.plan_table import duration
from frostline.report.summary import console_of_width
from frostline.training.depth import Depth

SECONDS = "≈ plan"
COLUMNS = ("thawed", "from", "GFLOP per sample", "of the backbone", SECONDS, "")


def print_depths(depths: Sequence[Depth], chosen: int) -> None:
    """Print the depths, and mark the chosen one. chosen: the number of blocks that thaw."""
    table = Table(box=box.SIMPLE_HEAD)
    measured = all(depth.seconds is not None for depth in depths)
    for column in COLUMNS if measured else [name for name in COLUMNS if name != SECONDS]:
        table.add_column(column, justify="left" if column in ("from", "") else "right", no_wrap=True)
    for depth in depths:
        time = [] if depth.seconds is None else [duration(depth.seconds)]
        mark = "chosen" if depth.blocks == chosen else ""
        table.add_row(str(depth.blocks), depth.block, f"{depth.flops / 1e9:.3g}", f"{depth.share:.0%}", *time, mark)
    console_of_width().print(table)
