"""Mean and spread of the scores of runs that differ only in seed, split or fold."""

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.paths import write_atomically
from frostline.runs.record import Record

REPEATS = ("seed", "data.seed", "data.fold", "data.split_seed")  # settings whose values are repetitions of a setting
FILE = "means.csv"


class Repeated(NamedTuple):
    """settings: values that the runs have in common, of those that differ in the sweep. scores: mean and standard
    deviation (with n - 1) by name. repeats: the settings in which the runs differ."""

    settings: dict[str, str]
    runs: int
    repeats: list[str]
    scores: dict[str, tuple[float, float]]


def repeated(runs: Sequence[tuple[dict[str, str], Record]], scores: Sequence[str]) -> list[Repeated]:
    """Group finished runs by their settings without REPEATS; groups of one run are left out. runs: settings that differ
    in the sweep and record of each. scores: names of the scores to average; one that a run lacks, or that is not
    finite, is left out."""
    groups: dict[tuple[tuple[str, str], ...], list[tuple[dict[str, str], Record]]] = defaultdict(list)
    for settings, record in runs:
        groups[tuple((name, it) for name, it in settings.items() if name not in REPEATS)].append((settings, record))
    return [_of_group(dict(own), group, scores) for own, group in groups.items() if len(group) > 1]


def _of_group(own: dict[str, str], group: Sequence[tuple[dict[str, str], Record]], names: Sequence[str]) -> Repeated:
    records = [record for _, record in group]
    found = {name: [record.metrics.get(name) for record in records] for name in names}
    values = {name: [it for it in some if it is not None and math.isfinite(it)] for name, some in found.items()}
    scores = {
        name: (statistics.mean(some), statistics.stdev(some))
        for name, some in values.items()
        if len(some) == len(records)
    }
    repeats = [name for name in REPEATS if len({settings.get(name) for settings, _ in group}) > 1]
    return Repeated(own, len(group), repeats, scores)


def lines_of(means: Sequence[Repeated], most: int = 3) -> list[str]:
    """`model=resnet18: val/accuracy 0.91 ± 0.02, ... (5 runs over data.fold)`, for up to `most` scores each."""
    said = []
    for it in means:
        own = " ".join(f"{name}={value}" for name, value in it.settings.items())
        scores = ", ".join(f"{name} {mean:.4f} ± {spread:.4f}" for name, (mean, spread) in [*it.scores.items()][:most])
        over = f" over {', '.join(it.repeats)}" if it.repeats else ""
        said.append(f"{own}{': ' if own else ''}{scores} ({it.runs} runs{over})")
    return said


def write_means(sweep: Path, means: Sequence[Repeated]) -> Path:
    """Write means.csv: the settings, the number of runs, and mean and standard deviation of each score."""
    settings = list(dict.fromkeys(name for it in means for name in it.settings))
    scores = list(dict.fromkeys(name for it in means for name in it.scores))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*settings, "runs", *(f"{name} {what}" for name in scores for what in ("mean", "deviation"))])
    for it in means:
        own = [it.settings.get(name, "") for name in settings]
        writer.writerow([*own, it.runs, *(value for name in scores for value in it.scores.get(name, ("", "")))])
    path = sweep / FILE
    write_atomically(path, text.getvalue())
    return path
