"""Further columns of a table, which predictions keep: their names, and their cells as they stand."""

import base64
import json
from collections.abc import Collection, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from frostline.data.tables.table import normalised


class Pairs(list[tuple[str, Any]]):
    """An object of JSON as it stands: a name that is there twice stays twice."""


def taken(names: Sequence[str], columns: Collection[str], *, others: bool) -> dict[str, int]:
    """Where each of `columns` stands, by its name, which is compared after Unicode normalisation; and, with `others`,
    where every further column does, in the table's order. A name that is there already gets a number: `id (2)`."""
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
    """Makes cells of anything. encoded: the columns in which bytes came as base64."""

    def __init__(self) -> None:
        self.encoded: dict[str, None] = {}

    def cell(self, column: str, value: Any) -> str:
        """Text as it is, dates and times as ISO 8601 has them, lists and objects as JSON."""

        def plain(it: Any) -> str:
            if isinstance(it, bytes):
                self.encoded[column] = None
                return base64.b64encode(it).decode("ascii")
            return it.isoformat() if isinstance(it, date | time) else str(it)  # a datetime is a date

        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float | list | dict):
            return json.dumps(_objects(value), ensure_ascii=False, default=plain)
        return plain(value)

    def notes(self, file: Path) -> list[str]:
        return [f"{file}: bytes in the column '{column}' come as base64" for column in self.encoded]


def _objects(value: Any) -> Any:
    if isinstance(value, Pairs):
        return {name: _objects(within) for name, within in value}
    return [_objects(within) for within in value] if isinstance(value, list) else value
