"""Write the page of a sweep: at its end, or anew from its folder."""

import sys
from pathlib import Path

from frostline.errors import RunError
from frostline.pages.sweep import write_sweep_page
from frostline.report.leaderboard import write_leaderboard
from frostline.report.trials import runs_of
from frostline.runs.sweeps import lost_of


def page_of_sweep(folder: Path) -> None:
    """Write the page beside the leaderboard, and print its path. A full disk loses the page, but not the sweep."""
    try:
        print(f"page         {write_sweep_page(folder)}")
    except OSError as error:
        print(f"frostline: report.html is not written: {error.strerror or error}", file=sys.stderr)


def report_sweep(folder: Path) -> None:
    """Build leaderboard and page anew. Raises RunError if no job of the sweep began."""
    if not runs_of(folder) and not lost_of(folder):
        raise RunError("no job of this sweep began", where=folder, next_step="finish the sweep, or name another folder")
    write_leaderboard(folder)
    print(f"page  {write_sweep_page(folder)}")
