"""Which settings of a search mattered, as stored in the folder of the sweep."""

import json
from collections.abc import Mapping
from pathlib import Path

from frostline.paths import write_atomically

FILE = "importances.json"


def write_importances(folder: Path, shares: Mapping[str, float]) -> None:
    """shares: of the variance of the scores (fANOVA), by setting."""
    write_atomically(folder / FILE, json.dumps(dict(shares), indent=1) + "\n")


def importances_in(folder: Path) -> dict[str, float]:
    """The shares by setting; none if the folder has no such file, or one that cannot be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return {str(name): float(share) for name, share in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
