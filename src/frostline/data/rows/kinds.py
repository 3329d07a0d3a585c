"""Guess what a column holds from its name and its cells."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from frostline.data.pictures.files import PICTURES
from frostline.data.rows.columns import SETTINGS, UNKNOWN_NUMBERS, Kinds, whole
from frostline.data.rows.written import Written, written_numbers
from frostline.data.tables.columns import WHOLE
from frostline.data.tables.table import Row, is_number
from frostline.errors import DataError, few, shortened
from frostline.quoting import list_of

ID_NAME = re.compile(r"(?i:(?:^|[ _\-.])(?:ids?|uid|uuid|key|code|user|item)$)|[a-z](?:Id|ID)$")
PATHS = 0.9  # share of the filled cells that end like pictures from which they are paths of pictures
WORDS = 3.0  # mean number of words from which cells are texts
MOST_CATEGORIES = 100  # different names; more are ids
MOST_NOTED = 5  # columns of numbers with other marks that have a note of their own
OWN = 0.9  # share of different cells from which a column that is no text says nothing about other rows
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
    guessed = []
    for name in candidates:
        if name in named:
            continue
        kind, why = guess(name, [row.cells.get(name, "") for row in rows])
        if kind and given[kind] is not None:
            kind, why = "", f"{SETTINGS[kind]} does not name it"
        if kind:
            found[kind].append(name)
            guessed.append(name)
        else:
            left.setdefault(why, []).append(name)
    kinds = Kinds(*(tuple(found[field]) for field in Kinds._fields))
    left_out = [f"left out: {few([shortened(name) for name in its])} ({why})" for why, its in left.items()]
    others = [name for name in candidates if name not in named]
    return kinds, frozenset(guessed), _no_numbers(kinds, others, rows) + left_out


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
    if _are_dates(filled):
        return Guess("", "dates; a number, such as the days since one of them, can be learned from")
    if sum(len(cell.split()) for cell in filled) >= WORDS * len(filled):
        return Guess("texts")
    if single or (different > OWN * len(filled) and not is_id):
        return Guess("", "each row has its own, or nearly")
    return Guess("ids" if is_id or different > MOST_CATEGORIES else "categories")


def _are_dates(cells: Sequence[str]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip()]
    return sum(map(_is_date, filled)) >= DATES * len(filled)


def _is_date(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return DATE.fullmatch(cell) is not None
    return True


def _no_numbers(kinds: Kinds, candidates: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """A sentence for each column of numbers that is taken for something else. candidates: columns that the user did not
    name."""
    taken = {name: f"taken for {KINDS[field]}" for field, names in kinds._asdict().items() for name in names}
    found = {name: own for name in candidates if (own := _written(name, rows, kinds)) is not None}
    notes = [f"'{shortened(name)}' is {taken.get(name, 'left out')}, because {own.why}" for name, own in found.items()]
    if len(notes) > MOST_NOTED:
        notes[MOST_NOTED:] = [f"so are {len(notes) - MOST_NOTED:,} more columns: {few([*found][MOST_NOTED:])}"]
    return [*notes[:-1], f"{notes[-1]}, then {list_of(SETTINGS['numbers'], [*kinds.numbers, *found])}"] if notes else []


def _written(name: str, rows: Sequence[Row], kinds: Kinds) -> Written | None:
    found = None if name in kinds.numbers or ID_NAME.search(name) else written_numbers(name, rows)
    return None if found is None or _are_dates([row.cells.get(name, "") for row in rows]) else found


def require_filled(rows: Sequence[Row], kinds: Kinds, where: object) -> None:
    """Raises DataError that names a column in which no row has a value."""
    for name, setting in kinds.settings.items():
        if not any(row.cells.get(name, "").strip() for row in rows):
            raise DataError(
                f"the column '{name}' is empty",
                where=where,
                next_step=f"fill it, or leave it out of {setting}",
            )
