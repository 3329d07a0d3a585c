"""Find names that may mean the same."""

import re
import unicodedata
from math import isfinite

from frostline.errors import few

SHOWN = 3
BETWEEN = re.compile(r"(?<=\w)[-_](?=\w)")  # separates words, like a blank


def alike_notes(names: list[str], plural: str) -> list[str]:
    """Return a sentence on names that differ only in case, blanks, `-`, `_` or invisible characters, or write the same
    number, boolean or missing value. plural: what messages call several names."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_plain(name), []).append(name)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    return [f"{plural} that may mean the same: {few(alike, SHOWN)}"] if alike else []


def _plain(name: str) -> str:
    visible = "".join(it for it in unicodedata.normalize("NFKC", name) if unicodedata.category(it) != "Cf")
    plain = " ".join(BETWEEN.sub(" ", visible.casefold()).split())
    if plain in ("nan", "none", "null", "n/a", "na"):
        return "nothing"
    try:
        number = float(visible)
    except ValueError:
        return {"true": "1.0", "false": "0.0"}.get(plain, plain)
    return str(number) if isfinite(number) else "nothing"
