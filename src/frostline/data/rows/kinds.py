"""Guess what a column holds from its name and its cells."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from frostline.data.pictures.files import PICTURES
from frostline.data.rows.columns import SETTINGS, UNKNOWN_NUMBERS, Kinds, whole
from frostline.data.tables.columns import WHOLE
from frostline.data.tables.table import Row, is_number
from frostline.errors import DataError, few, shortened
from frostline.quoting import list_of

ID_NAME = re.compile(r"(?i:(?:^|[ _\-.])(?:ids?|uid|uuid|key|code|user|item)$)|[a-z](?:Id|ID)$")
PATHS = 0.9  # share of the filled cells that end like pictures from which they are paths of pictures
WORDS = 3.0  # mean number of words from which cells are texts
MOST_CATEGORIES = 100  # different names; more are ids
OWN = 0.9  # share of different cells from which a column that is no text says nothing about other rows
NUMBERS = 0.9  # share of the known cells that are numbers from which the others are probably errors
FEWER_NUMBERS, MARKS = 0.5, 3  # the same, if the others are so few different ones: they may mark what is missing
DATES = 0.9  # share of the filled cells that are dates from which the column has dates
DATE = re.compile(r"\d{1,2}[./]\d{1,2}[./]\d{2}(\d{2})?( \d{1,2}:\d{2}(:\d{2})?)?")  # beside ISO 8601
KINDS = {"images": "pictures", "texts": "texts", "numbers": "numbers", "categories": "categories", "ids": "ids"}


class Guess(NamedTuple):
    """kind: a field of Kinds; "" to leave the column out. why: why it is left out."""

    kind: str
    why: str = ""


def kinds_of(
    rows: Sequence[Row], candidates: Sequence[str], given: Mapping[str, list[str] | None]
) -> tuple[Kinds, frozenset[str], list[str]]:
    """Return the columns of each kind, those that are guessed, and sentences for the user.

    candidates: columns without another use. given: by field of Kinds, the columns that the user named; None: guess.
    """
    found = {field: [*(given[field] or ())] for field in Kinds._fields}
    named = {name for names in found.values() for name in names}
    left: dict[str, list[str]] = {}
    guessed, notes = [], []
    for name in candidates:
        if name in named:
            continue
        kind, why = guess(name, [row.cells.get(name, "") for row in rows])
        notes += _no_numbers(name, rows, kind)
        if kind and given[kind] is not None:
            kind, why = "", f"{SETTINGS[kind]} does not name it"
        if kind:
            found[kind].append(name)
            guessed.append(name)
        else:
            left.setdefault(why, []).append(name)
    kinds = Kinds(*(tuple(found[field]) for field in Kinds._fields))
    left_out = [f"left out: {few([shortened(name) for name in its])} ({why})" for why, its in left.items()]
    return kinds, frozenset(guessed), notes + left_out


def guess_note(kinds: Kinds, guessed: Collection[str]) -> list[str]:
    """A sentence on the columns that are guessed, with the settings that name them."""
    own = {field: [name for name in getattr(kinds, field) if name in guessed] for field in Kinds._fields}
    settings = " ".join(list_of(SETTINGS[field], names) for field, names in own.items() if names)
    return [f"columns guessed: {settings}"] if settings else []


def slices_note(names: Sequence[str], kinds: Kinds) -> list[str]:
    """A sentence on `data.group_columns` that are no inputs, with the setting that makes them inputs, too."""
    apart = [name for name in names if not any(name in own for own in kinds)]
    too = list_of(SETTINGS["categories"], [*kinds.categories, *apart])
    return (
        [f"{few(apart)}: no inputs, but scores are reported for each value; {too} makes them inputs, too"]
        if apart
        else []
    )


def guess(name: str, cells: Sequence[str]) -> Guess:
    """What a column holds."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    different = len(Counter(filled))
    if not filled:
        return Guess("", "no row has a value")
    if different == 1 and len(filled) == len(cells):
        return Guess("", "all rows have the same value")
    suffixes = tuple(PICTURES.suffixes())
    if sum(cell.lower().endswith(suffixes) for cell in filled) >= PATHS * len(filled):
        return Guess("images")
    is_id, single = ID_NAME.search(name) is not None, different == len(filled)
    numbers = [cell for cell in filled if cell.lower() not in UNKNOWN_NUMBERS]
    if numbers and all(is_number(cell) for cell in numbers):
        if not (is_id and all(WHOLE.fullmatch(whole(cell)) for cell in numbers)):
            return Guess("numbers")
        return Guess("", "each row has its own") if single else Guess("ids")
    if sum(map(_is_date, filled)) >= DATES * len(filled):
        return Guess("", "dates; a number, such as the days since one of them, can be learned from")
    if sum(len(cell.split()) for cell in filled) >= WORDS * len(filled):
        return Guess("texts")
    if single or (different > OWN * len(filled) and not is_id):
        return Guess("", "each row has its own, or nearly")
    return Guess("ids" if is_id or different > MOST_CATEGORIES else "categories")


def _is_date(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return DATE.fullmatch(cell) is not None
    return True


def _no_numbers(name: str, rows: Sequence[Row], kind: str) -> list[str]:
    """A sentence if most cells of a column that is taken for something else are numbers."""
    known = [(cell, row) for row in rows if (cell := row.cells.get(name, "").strip()).lower() not in UNKNOWN_NUMBERS]
    others = [(cell, row) for cell, row in known if not is_number(cell)]
    least = FEWER_NUMBERS if len({cell for cell, _ in others}) <= MARKS else NUMBERS
    if ID_NAME.search(name) or not others or len(others) > (1 - least) * len(known):
        return []
    cell, row = others[0]
    taken = f"taken for {KINDS[kind]}" if kind else "left out"
    number = "is not a number" if len(others) == 1 else "are not numbers"
    return [
        f"'{shortened(name)}' is {taken}, because {len(others):,} of {len(known):,} cells {number} "
        f"('{shortened(cell)}', {row.unit} {row.place}): correct or empty what is wrong, then "
        + list_of(SETTINGS["numbers"], [name])
    ]


def require_filled(rows: Sequence[Row], kinds: Kinds, where: object) -> None:
    """Raises DataError that names a column in which no row has a value."""
    for name, setting in kinds.settings.items():
        if not any(row.cells.get(name, "").strip() for row in rows):
            raise DataError(
                f"the column '{name}' is empty",
                where=where,
                next_step=f"fill it, or leave it out of {setting}",
            )
