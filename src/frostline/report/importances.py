"""Which settings of a sweep mattered: of a search as stored in its folder, of a grid from its leaderboard."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from frostline.paths import write_atomically

FILE = "importances.json"
FEWEST = 10  # settings of a grid


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


def main_effects(rows: Sequence[Mapping[str, str]], names: Sequence[str], score: str) -> dict[str, float]:
    """Share of the variance of a score that each setting explains alone, the largest first: omega squared of an
    analysis of variance (Hays 1963), which leaves out what noise would explain. What is missing to 1 is noise, and what
    settings do together. Empty unless the rows have every combination of two or more settings once: elsewhere the
    effects of settings cannot be separated. rows: of a leaderboard."""
    names = [name for name in names if len({row[name] for row in rows}) > 1]
    combinations = math.prod(len({row[name] for row in rows}) for name in names)
    found = {tuple(row[name] for name in names): row[score] for row in rows if row[score]}
    if len(names) < 2 or len(rows) < FEWEST or not len(rows) == len(found) == combinations:
        return {}
    scores = {values: float(cell) for values, cell in found.items()}
    if not all(map(math.isfinite, scores.values())):
        return {}
    whole = statistics.pvariance(scores.values())  # sums of squares, of which each has the same number of rows
    between = {name: _between(scores, place) for place, name in enumerate(names)}
    freedom = {name: len({row[name] for row in rows}) - 1 for name in names}
    noise = (whole - sum(between.values())) / (len(rows) - 1 - sum(freedom.values()))
    if whole + noise <= 0:
        return {}
    shares = {name: max(between[name] - freedom[name] * noise, 0.0) / (whole + noise) for name in names}
    return dict(sorted(shares.items(), key=lambda share: -share[1]))


def _between(scores: Mapping[tuple[str, ...], float], place: int) -> float:
    """The variance of the mean scores of each value at a place of the keys."""
    groups: dict[str, list[float]] = defaultdict(list)
    for values, score in scores.items():
        groups[values[place]].append(score)
    return statistics.pvariance([statistics.fmean(group) for group in groups.values()])
