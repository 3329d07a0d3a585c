"""Write report.html of a sweep: the leaderboard, and its scores over the settings that it varied."""

import csv
import math
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from frostline.errors import few
from frostline.pages import dimensions
from frostline.pages.dimensions import MARKS, Tried, number_of
from frostline.pages.template import duration, filled
from frostline.paths import write_atomically
from frostline.quoting import command_of
from frostline.report.leaderboard import BESIDE, CAUTION, DEVIATION, HIGH, LONG, LOW, NO_INTERVAL, label_of
from frostline.report.leaderboard_table import cautions_of, short_setting
from frostline.report.summary import PAGE
from frostline.report.trials import (
    Ranking,
    Setting,
    Trial,
    best_settings,
    composed_settings,
    differing,
    settings_of,
    shared_notes,
    trials_of,
)
from frostline.report.without_effect import equal_runs, without_effect
from frostline.runs.folders import CONFIG
from frostline.runs.sweep_names import BOARD, REPEATS
from frostline.runs.sweeps import Sweep

DAY = re.compile(r"\d{4}-\d\d-\d\d")
FINISHED = "finished"
HIDDEN = "left out (report.pictures=false); the leaderboard and the terminal have it"
EMPTY = ("", "null")  # cells of a column of numbers
MOST_ROWS = 500  # of the leaderboard
MOST_INTERVALS = 20  # settings in the chart of intervals
MOST_DIMENSIONS = 8
MOST_LINES = 400  # runs in charts
MOST_NAMED = 30  # runs that failed for one reason


class Cell(NamedTuple):
    """value: by which the column is sorted. link: to the run's page, or "". more: below it, smaller."""

    shown: str
    value: str
    link: str = ""
    more: str = ""


class Forest(NamedTuple):
    """legend: classes and meanings of its marks; empty if no setting was compared. cut: what it leaves out, or ""."""

    svg: str
    legend: list[tuple[str, str]]
    cut: str


class Ranked(NamedTuple):
    """The charts of one ranking, as markup whose texts are escaped. label: "" if it is the only one. cut: what the
    charts of settings show of what there is."""

    label: str
    forest: Forest | None
    parallel: str
    scatters: list[tuple[str, str]]
    cut: list[str]


def write_sweep_page(folder: Path) -> Path:
    """Write the page and return its path. The folder holds a leaderboard."""
    with (folder / BOARD).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    trials = trials_of(folder)
    sweep = Sweep.read(folder)
    settings = sorted(settings_of(trials, folder), key=lambda setting: setting.order)
    page = filled("sweep.html", _values(folder, sweep, rows, trials, settings))
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _values(
    folder: Path, sweep: Sweep, rows: Sequence[Mapping[str, str]], trials: Sequence[Trial], settings: Sequence[Setting]
) -> dict[str, Any]:
    columns = [name for name in rows[0] if name not in (*LONG, "caution") and not name.endswith(BESIDE)]
    ranked = [row for row in rows if not row["error"] or row["status"] == FINISHED]  # which may lack its interval
    if all(row["status"] == FINISHED for row in ranked):
        columns.remove("status")
    best, private = best_settings(settings), _private(folder, trials)
    return {
        "name": _name_of(folder.absolute()),
        "command": shlex.join(["frostline", "train", *_multirun(sweep.arguments)]),
        "facts": [*_facts(trials)],
        "columns": [(name, name != "run" and _is_numeric([row[name] for row in ranked])) for name in columns],
        "rows": [[_cell(folder, row, name) for name in columns] for row in ranked[:MOST_ROWS]],
        "no_interval": [(row["run"], row[NO_INTERVAL]) for row in ranked if row.get(NO_INTERVAL)],
        "left_out": max(0, len(ranked) - MOST_ROWS),
        "has_intervals": "low" in rows[0],
        "has_tested": any(name.endswith(LOW) for name in rows[0]),
        "cautions": [*dict.fromkeys(cautions_of(ranked, _with_cautions(rows[0])))],
        "rankings": [*_rankings(settings, trials, rows)],
        "best": [*_best(folder, best)],
        "failed": [*_failed(rows, private)],
        "notes": shared_notes(_notes(trials, private), len(trials)),
        "equal": [equal_runs(names, equal) for names, equal in without_effect([*trials]).items()],
        "commands": _commands(folder, sweep, best),
    }


def _notes(trials: Sequence[Trial], private: Collection[str]) -> dict[str, list[str]]:
    """Notes on data by run. None if the page of a run shows no samples: notes may name those that runs share."""
    return {} if private else {trial.run: trial.record.notes for trial in trials if trial.record is not None}


def _private(folder: Path, trials: Sequence[Trial]) -> set[str]:
    """Names of runs whose page shows no samples."""
    return {trial.run for trial in trials if _is_private(folder / trial.run, trial.overrides)}


def _is_private(run: Path, overrides: Mapping[str, str]) -> bool:
    if not (run / CONFIG).is_file():  # it failed before it had its settings
        return overrides.get("report.pictures") == "false"
    settings = composed_settings(run)
    return settings is None or settings.get("report.pictures") is False


def _with_cautions(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(CAUTION) for name in names if name.endswith(CAUTION)]


def _multirun(arguments: Sequence[str]) -> list[str]:
    return [*(() if {"-m", "--multirun"} & {*arguments} else ("-m",)), *arguments]


def _failed(rows: Sequence[Mapping[str, str]], private: Collection[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Runs with one reason together: their names, status and reason. private: runs whose reasons are left out, as they
    may name samples."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["error"] and row["status"] != FINISHED:
            error = HIDDEN if row["run"] in private else row["error"]
            reasons.setdefault((row["status"], error), []).append(row["run"])
    yield from ((few(runs, MOST_NAMED), *reason) for reason, runs in reasons.items())


def _name_of(folder: Path) -> str:
    """The folder's name; with the day, which is the folder around it, if it is a time."""
    return f"{folder.parent.name} {folder.name}" if DAY.fullmatch(folder.parent.name) else folder.name


def _facts(trials: Sequence[Trial]) -> Iterator[tuple[str, str]]:
    yield "settings", f"{len({trial.settings(repeats=False) for trial in trials}):,}"
    counted = (FINISHED, "pruned", "failed", "unreadable")
    counts = {status: sum(trial.status == status for trial in trials) for status in counted}
    yield "runs", ", ".join(f"{number:,} {status}" for status, number in counts.items() if number)
    yield "time of all runs", duration(sum(Setting([trial]).seconds for trial in trials))
    names = dict.fromkeys(str(trial.record.data.get("name", "")) for trial in trials if trial.record is not None)
    yield "data", ", ".join(name for name in names if name)


def _is_score(name: str) -> bool:
    return name.startswith(("val/", "test/"))


def _cell(folder: Path, row: Mapping[str, str], name: str) -> Cell:
    value = row[name] or ""
    if name == "run":
        page = (folder / value / PAGE).is_file()
        return Cell(value, value, quote(f"{value}/{PAGE}") if page else "")
    number = _sorted_by(value)
    if number is None:
        return Cell(value, "" if value in EMPTY else value)
    if not (_is_score(name) or name in ("low", "high")):
        return Cell(short_setting(value), repr(number))
    deviation, *ends = (row.get(f"{name}{end}", "") for end in (DEVIATION, LOW, HIGH))
    interval = f"{float(ends[0]):.4f} … {float(ends[1]):.4f}" if all(ends) else ""
    return Cell(f"{number:.4f}" + (f" ± {float(deviation):.4f}" if deviation else ""), repr(number), more=interval)


def _sorted_by(value: str) -> float | None:
    """The number of a cell, and of `4 of 6` the first one; None for other texts."""
    return number_of(value.partition(" of ")[0])


def _is_numeric(values: Sequence[str]) -> bool:
    """Whether a column is sorted by numbers: whether all of its cells that hold something are numbers."""
    known = [value for value in values if value not in EMPTY]
    return bool(known) and all(_sorted_by(value) is not None for value in known)


def _rankings(
    settings: Sequence[Setting], trials: Sequence[Trial], rows: Sequence[Mapping[str, str]]
) -> Iterator[Ranked]:
    """The rankings of more than one setting, the first one of the table first."""
    by_run = {row["run"]: row for row in rows}
    found: dict[Ranking, list[Setting]] = {}
    for setting in settings:
        if setting.first.ranking is not None:
            found.setdefault(setting.first.ranking, []).append(setting)
    order = {row["run"]: at for at, row in enumerate(rows)}
    ordered = sorted(found.items(), key=lambda pair: order.get(pair[1][0].first.run, len(rows)))
    names = [name for name in differing(trials) if name not in REPEATS]
    for ranking, own in ordered:
        if len(own) < 2:
            continue
        every = [*_tried(own, names, ranking.monitor)]
        runs = every[:MOST_LINES]
        varied = [at for at in range(len(names)) if len({run.values[at] for run in runs}) > 1]
        axes = varied[:MOST_DIMENSIONS]
        runs = [run._replace(values=tuple(run.values[at] for at in axes)) for run in runs]
        shown = [names[at] for at in axes]
        yield Ranked(
            label_of(ranking, [*found]) if len(found) > 1 else "",
            _forest(own, [names[at] for at in varied], by_run, ranking.monitor),
            dimensions.parallel(shown, runs, ranking.monitor, maximal=ranking.mode == "max") if len(shown) > 1 else "",
            [(name, dimensions.scatter(name, at, runs, ranking.monitor)) for at, name in enumerate(shown)],
            [*_cut(len(axes), len(varied), "settings that differ"), *_cut(len(runs), len(every), "runs, the best")],
        )


def _cut(shown: int, of: int, what: str) -> list[str]:
    return [f"{shown:,} of {of:,} {what}"] if shown < of else []


def _tried(settings: Sequence[Setting], names: Sequence[str], monitor: str) -> Iterator[Tried]:
    for turn, setting in enumerate(settings):
        for trial in setting.trials:
            assert trial.record is not None, "a ranked run has a record"
            values = tuple(trial.overrides.get(name, "") for name in names)
            yield Tried(trial.run, values, float(trial.record.metrics[monitor]), turn == 0)


def _forest(
    settings: Sequence[Setting], names: Sequence[str], by_run: Mapping[str, Mapping[str, str]], score: str
) -> Forest | None:
    rows: list[tuple[str, float, float, float, bool | None]] = []
    for setting in settings:
        row = by_run.get(setting.first.run, {})
        if row.get("low") and row.get("high"):
            name = ", ".join(short_setting(setting.first.overrides.get(name, "–")) for name in names)
            ends = float(row["low"]), float(row["high"])
            good = {"best": True, "yes": True, "no": False}.get(row["as_good"])
            rows.append((name or setting.first.run, float(row[score]), *ends, good))
    shown = rows[:MOST_INTERVALS]
    if len(shown) < 2:
        return None
    states = [state for state in MARKS if any(row[-1] is state for row in shown)]
    legend = [MARKS[state] for state in states] if states != [None] else []
    cut = _cut(len(shown), len(rows), "settings with an interval, the best")
    return Forest(dimensions.forest(shown, score), legend, " ".join(cut))


def _best(folder: Path, best: Mapping[Ranking, Setting]) -> Iterator[dict[str, str | int]]:
    for ranking, setting in best.items():
        first = setting.first
        assert first.record is not None, "a ranked run has a record"
        names = dict.fromkeys([ranking.monitor, ranking.monitor.replace("val/", "test/", 1)])
        found = {name: score for name in names if (score := setting.score(name)) is not None}
        page = (folder / first.run / PAGE).is_file()
        yield {
            "run": first.run,
            "scores": ", ".join(f"{name} {_with_deviation(*score)}" for name, score in found.items()),
            "runs": len(setting.trials),
            "link": quote(f"{first.run}/{PAGE}") if page else "",
            "label": label_of(ranking, [*best]) if len(best) > 1 else "",
        }


def _with_deviation(mean: float, deviation: float) -> str:
    return f"{mean:.4f}" if math.isnan(deviation) else f"{mean:.4f} ± {deviation:.4f}"


def _commands(folder: Path, sweep: Sweep, best: Mapping[Ranking, Setting]) -> list[tuple[str, str]]:
    found = []
    for setting in best.values():
        record, run = setting.first.record, folder.absolute() / setting.first.run
        if record is not None and (weights := record.weights_settings) is not None:
            found += [
                (f"score run {setting.first.run} again", command_of("evaluate", *weights, run=run)),
                (
                    f"predict with run {setting.first.run}",
                    command_of("predict", *weights, run=run, input="new_samples"),
                ),
            ]
    own = Sweep(folder.absolute(), sweep.arguments, sweep.cwd, sweep.jobs, sweep.search)
    states = {own.state(number) for number in range(len(own.jobs))}
    if not own.jobs:  # a search, which may go on
        found.append(("finish it, if trials are left", own.again()))
    elif states & {"new", "open"}:
        found.append(("finish it", own.again()))
    elif "failed" in states:
        found.append(("run again what failed", f"{own.again()} sweep.retry=true"))
    return [*found, ("build this page anew", command_of("report", run=folder.absolute()))]
