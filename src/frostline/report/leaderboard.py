"""Rank the settings of a sweep, best first, in a CSV in the sweep's folder."""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from frostline.paths import write_atomically
from frostline.report.setting_intervals import Compared, compared, tested
from frostline.report.trials import (
    Ranking,
    Setting,
    best_settings,
    differing,
    scores_of,
    settings_of,
    trials_of,
)
from frostline.runs.sweep_names import BOARD, REPEATS, RUNS

NO_INTERVAL = "no_interval"  # column: why a setting has no interval although it should
LONG = ("error", NO_INTERVAL, "command")
DEVIATION, LOW, HIGH, CAUTION = " deviation", " low", " high", " caution"  # end names of columns of a score
BESIDE = (DEVIATION, LOW, HIGH, CAUTION)

Row = dict[str, object]  # of the table, by column


def write_leaderboard(folder: Path, *, compare: bool = True) -> Path:
    """Write `leaderboard.csv`: a row per setting, ordered by validation score, with the test scores for information.
    Unfinished runs come last, each with a row of its own. Settings whose scores cannot be compared are ranked
    separately, and the column `ranked_by` names the ranking. `runs.csv` has a row per run if settings are repeated.

    folder: holds at least one run, or a job that failed before it had one. compare: add an interval of each score over
    the samples, and which settings are as good as the best.
    """
    trials = trials_of(folder)
    settings = settings_of(trials, folder)
    sizes = Counter(setting.first.ranking for setting in settings if setting.first.ranking is not None)
    rankings: list[Ranking | None] = [*sorted(sizes, key=lambda ranking: (-sizes[ranking], ranking)), None]

    def place(setting: Setting) -> tuple[int, tuple[bool, float, int, str]]:
        return rankings.index(setting.first.ranking), setting.order

    settings.sort(key=place)
    repeated = _repeated(settings)
    names = [name for name in differing(trials) if not (repeated and name in REPEATS)]
    path = folder / BOARD
    write_atomically(path, _table(folder, settings, names, rankings, compared(folder, settings) if compare else None))
    if repeated:
        singles = sorted((Setting([trial]) for trial in trials), key=place)
        write_atomically(folder / RUNS, _table(folder, singles, differing(trials), rankings, None))
    return path


def _table(
    folder: Path,
    settings: Sequence[Setting],
    names: Sequence[str],
    rankings: Sequence[Ranking | None],
    found: Mapping[int, Compared] | None,
) -> str:
    """names: of the settings that have a column. found: None for no intervals."""
    repeated = _repeated(settings)
    scores = scores_of([record for setting in settings for record in setting.records])
    rows: list[Row] = [
        {name: setting.first.overrides.get(name, "") for name in names}
        | _about(setting, rankings)
        | _scored(setting, scores)
        | _over_samples(folder, setting, scores, None if found is None else found.get(at, Compared(None, "", "")))
        for at, setting in enumerate(settings)
    ]
    known = {name for row in rows for name, value in row.items() if value != ""}
    columns = ["run", "status", *names, *(["ranked_by"] if len(rankings) > 2 else []), *(["runs"] if repeated else [])]
    first_test = next((at for at, score in enumerate(scores) if score.startswith("test/")), len(scores))
    for at, score in enumerate([*scores, ""]):
        if at == first_test and found:  # of the score that ranks
            columns += ["low", "high", *(["caution"] if "caution" in known else []), "as_good"]
        columns += [score, *([f"{score}{DEVIATION}"] if repeated else [])] * bool(score)
        columns += [f"{score}{end}" for end in (LOW, HIGH, CAUTION) if f"{score}{end}" in known]
    columns += ["seconds", *(name for name in LONG if name != NO_INTERVAL or name in known)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _scored(setting: Setting, scores: Sequence[str]) -> Row:
    row: Row = {}
    for score in scores:
        mean, deviation = setting.score(score) or (math.nan, math.nan)
        row |= {} if math.isnan(mean) else {score: mean}
        row |= {} if math.isnan(deviation) else {f"{score}{DEVIATION}": deviation}
    return row


def _about(setting: Setting, rankings: Sequence[Ranking | None]) -> Row:
    first, number = setting.first, len(setting.trials)
    row: Row = {"run": first.run, "status": first.status, "error": first.error, "runs": number}
    if setting.missing:
        row["runs"] = f"{number} of {number + setting.missing}"
    row["ranked_by"] = label_of(first.ranking, rankings)
    if first.record is not None:
        row |= {"seconds": round(setting.seconds, 1), "command": first.record.command}
    return row


def _over_samples(folder: Path, setting: Setting, scores: Sequence[str], own: Compared | None) -> Row:
    """Intervals over samples. own: of the score that ranks; None if settings are not compared, which leaves those of
    test scores that a record has."""
    row: Row = {}
    problem = ""
    if own is not None or len(setting.trials) == 1:
        found, problem = tested(folder, setting, scores)
        for score, it in found.items():
            row |= {
                f"{score}{LOW}": it["low"],
                f"{score}{HIGH}": it["high"],
                f"{score}{CAUTION}": it.get("caution", ""),
            }
    if own is not None:
        row |= {NO_INTERVAL: own.problem or problem, "as_good": own.mark}
        if own.ends is not None:
            row |= {"low": own.ends["low"], "high": own.ends["high"], "caution": own.ends["caution"]}
    return row


def _repeated(settings: Sequence[Setting]) -> bool:
    return any(len(setting.trials) > 1 or setting.missing for setting in settings)


def best_runs(folder: Path) -> list[tuple[Path, Path]]:
    """Pairs (run, first run of its setting), for the best setting of each ranking."""
    best = best_settings(settings_of(trials_of(folder), folder))
    return [(folder / it.run, folder / one.trials[0].run) for one in best.values() for it in one.trials]


def label_of(ranking: Ranking | None, rankings: Sequence[Ranking | None]) -> str:
    """Name a ranking by its monitor; add data and fingerprint only where the monitor is ambiguous."""
    others = [other for other in rankings if other is not None and other != ranking]
    if ranking is None:
        return ""
    label = ranking.monitor
    if any(other.monitor == ranking.monitor for other in others):
        label += f" of {ranking.data}"
    if any((other.monitor, other.data) == (ranking.monitor, ranking.data) for other in others):
        label += f" ({ranking.samples[:6]})"
    return label
