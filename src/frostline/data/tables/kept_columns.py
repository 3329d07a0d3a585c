"""Further columns of a table, which `frostline predict` copies to its output: unique names, and cells as text."""

import base64
import json
from collections.abc import Collection, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from frostline.data.tables.table import normalised


class Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs, so that a repeated name is not lost."""


def taken(names: Sequence[str], columns: Collection[str], *, others: bool) -> dict[str, int]:
    """Index of each of `columns` in `names`, which are compared after Unicode normalisation. others: add all further
    columns, in the table's order. A repeated name gets a number: `id (2)`."""
    plain = [normalised(name) for name in names]
    wanted = {name: plain.index(normalised(name)) for name in columns}
    if not others:
        return wanted
    used = {place: name for name, place in wanted.items()}
    found: dict[str, int] = {}
    for place, name in enumerate(names):
        own, count = used.get(place, name), 1
        while own in found or (place not in used and own in wanted) or (count > 1 and own in names):
            count += 1
            own = f"{name} ({count})".strip()
        found[own] = place
    return found


class AsText:
    """Converts values of any type to cells. encoded: columns with bytes, which become base64."""

    def __init__(self) -> None:
        self.encoded: dict[str, None] = {}

    def cell(self, column: str, value: Any) -> str:
        """Text stays; dates and times become ISO 8601; numbers, lists and objects JSON."""

        def plain(it: Any) -> str:
            if isinstance(it, bytes):
                self.encoded[column] = None
                return base64.b64encode(it).decode("ascii")
            return it.isoformat() if isinstance(it, date | time) else str(it)  # datetime is a subclass of date

        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float | list | dict):
            return json.dumps(_objects(value), ensure_ascii=False, default=plain)
        return plain(value)

    def notes(self, file: Path) -> list[str]:
        return [f"{file}: bytes in the column '{column}' are written as base64" for column in self.encoded]


def _objects(value: Any) -> Any:
    if isinstance(value, Pairs):
        return {name: _objects(within) for name, within in value}
    return [_objects(within) for within in value] if isinstance(value, list) else value
