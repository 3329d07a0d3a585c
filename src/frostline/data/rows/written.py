"""Recognise columns that hold numbers for people, but not for `float`: with a few words, or with marks such as `$5.10`,
`12,34`, `1 234` and `5 km`. They are reported, not converted: `1,234` is another number in another country."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from frostline.data.rows.columns import UNKNOWN_NUMBERS
from frostline.data.tables.table import Row, is_number
from frostline.errors import shortened

NUMBERS = 0.9  # share of the known cells that are numbers from which the others are probably errors
FEWER_NUMBERS, FEW = 0.5, 3  # the same, if the others are so few different ones: they may mark what is missing
CURRENCY = "[$€£¥₹]"
DIGITS = r"\d{1,3}(?:[ \u00a0\u202f.,'’]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?"  # in groups of three, or in one
MARKED = re.compile(
    rf"[+−-]?(?P<before>{CURRENCY}|[A-Z]{{3}}(?=\s))?\s?[+−-]?(?:{DIGITS})\s?"
    rf"(?P<after>{CURRENCY}|%|°?[^\W\d_]{{0,4}}[²³]?(?:/[^\W\d_]{{1,4}}[²³]?)?)"
)


class Written(NamedTuple):
    """others: number of cells that are no numbers, among the `known` ones. where: the first of them and its place.
    step: what makes them numbers."""

    others: int
    known: int
    where: str
    step: str

    @property
    def why(self) -> str:
        number = "is not a number" if self.others == 1 else "are not numbers"
        return f"{self.others:,} of {self.known:,} cells {number} ({self.where}): {self.step}"


def written_numbers(name: str, rows: Sequence[Row]) -> Written | None:
    """None if the column has numbers alone, or too few, or one value."""
    known = [(cell, row) for row in rows if (cell := row.cells.get(name, "").strip()).lower() not in UNKNOWN_NUMBERS]
    others = [(cell, row) for cell, row in known if not is_number(cell)]
    if not others or len({cell for cell, _ in known}) == 1:
        return None
    cell, row = others[0]
    where = f"'{shortened(cell)}', {row.unit} {row.place}"
    marked = [found for cell, _ in others if (found := MARKED.fullmatch(cell))]
    if len(others) - len(marked) <= (1 - NUMBERS) * len(known) and _are_alike(marked, len(known)):
        return Written(len(others), len(known), where, "write them with digits, a decimal point and - alone")
    least = FEWER_NUMBERS if len({cell for cell, _ in others}) <= FEW else NUMBERS
    if len(others) > (1 - least) * len(known):
        return None
    return Written(len(others), len(known), where, "correct or empty what is wrong")


def _are_alike(marked: Sequence[re.Match[str]], known: int) -> bool:
    """Whether the cells have one currency or unit, if any; a unit of letters in all `known` cells, as codes such as
    12A stand beside plain numbers."""
    marks = {(found["before"], found["after"]) for found in marked} - {(None, "")}
    letters = any(sign.isalpha() for before, after in marks for sign in f"{before or ''}{after}")
    return bool(marked) and len(marks) <= 1 and (not letters or len(marked) == known)
