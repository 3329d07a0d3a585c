"""The table of cached frozen-block outputs and decoded pictures."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from frostline.errors import one_line
from frostline.quoting import program
from frostline.report.summary import console_of_width
from frostline.storage.entry import Kept


def print_kept(entries: Sequence[Kept], root: Path, typed: Sequence[str]) -> None:
    """entries: most recently used first. typed: the `dir=` override, if any; the printed next command repeats it."""
    console = console_of_width()
    if not entries:
        console.print(f"Nothing is cached in {root}")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("model", "blocks", "data", "samples", "MB", "last used"):
        table.add_column(column, justify="right" if column in ("samples", "MB") else "left", no_wrap=True)
    for entry in entries:
        table.add_row(*map(one_line, _cells(entry)))
    console.print(table)
    console.print(f"{_megabytes(entries)} MB in {root}")
    console.print(f"next  {program()} {shlex.join(['cache', *typed, 'clear=true'])}")


def print_cleared(gone: Sequence[Kept], left: Sequence[Kept]) -> None:
    in_use = f"; {len(left)} still in use" if left else ""
    console_of_width().print(f"{len(gone)} removed, {_megabytes(gone)} MB{in_use}")


def _cells(entry: Kept) -> list[str]:
    return [*_content(entry), _megabytes([entry]), time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))]


def _content(entry: Kept) -> list[str]:
    """The cells model, blocks (for decoded pictures their size), data and samples. No checksum covers this metadata,
    as nothing is computed from it, so any part of it may be missing."""
    try:
        of_data = [str(entry.about["data"]), f"{entry.about['rows']:,}"]
        if "blocks" not in entry.about:  # samples as they are read: decoded pictures, tokens
            side = entry.about.get("side")
            return [entry.kind, "" if side is None else f"{side} pixels", *of_data]
        blocks = entry.about["blocks"]
        return [str(entry.about["model"]), blocks[0] if len(blocks) == 1 else f"{blocks[0]} … {blocks[-1]}", *of_data]
    except (KeyError, IndexError, TypeError, ValueError):
        return ["unreadable", entry.folder.name[:8], "", ""]


def _megabytes(entries: Sequence[Kept]) -> str:
    return f"{sum(entry.num_bytes for entry in entries) / 1e6:,.1f}"
