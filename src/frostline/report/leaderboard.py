"""Rank the settings of a sweep, best first, in a CSV in the sweep's folder."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from frostline.errors import RunError, few, in_short, one_line, shown
from frostline.paths import write_atomically
from frostline.quoting import setting_of
from frostline.report.bootstrap import Interval, intervals
from frostline.report.sample_scores import SampleScore, sample_score
from frostline.report.summary import console_of_width, program
from frostline.report.trials import (
    REPEATS,
    Ranking,
    Setting,
    best_settings,
    differing,
    scores_of,
    settings_of,
    trials_of,
)
from frostline.report.without_effect import equal_runs, without_effect
from frostline.runs.predictions import Predictions, read
from frostline.runs.record import Record
from frostline.runs.sweep_names import BOARD, RUNS

NO_INTERVAL = "no_interval"  # column: why a setting has no interval although it should
LONG = ("error", NO_INTERVAL, "command")
DEVIATION = " deviation"
HEADS = {"low": "95 % interval", "as_good": "as good"}  # of columns in the terminal
OWN = {"run", "status", "ranked_by", "runs", "low", "as_good", "seconds"}  # columns beside settings and scores
SETTINGS = "settings"  # the column of them all, in a narrow terminal
MOST_NAMED = 20  # runs in a line

# By index of the setting: its interval, how it compares with the best, and why it has none although it should.
Intervals = dict[int, tuple[Interval | None, str, str]]


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
    write_atomically(path, _table(settings, names, rankings, _compared(folder, settings) if compare else {}))
    if repeated:
        singles = sorted((Setting([trial]) for trial in trials), key=place)
        write_atomically(folder / RUNS, _table(singles, differing(trials), rankings, {}))
    return path


def _table(
    settings: Sequence[Setting], names: Sequence[str], rankings: Sequence[Ranking | None], found: Intervals
) -> str:
    """names: of the settings that have a column."""
    repeated = _repeated(settings)
    scores = scores_of([record for setting in settings for record in setting.records])
    columns = ["run", "status", *names, *(["ranked_by"] if len(rankings) > 2 else []), *(["runs"] if repeated else [])]
    first_test = next((at for at, score in enumerate(scores) if score.startswith("test/")), len(scores))
    for at, score in enumerate([*scores, ""]):
        columns += ["low", "high", "as_good"] * (at == first_test and bool(found))  # of the score that ranks
        columns += [score, *([f"{score}{DEVIATION}"] if repeated else [])] * bool(score)
    problems = any(problem for *_, problem in found.values())
    columns += ["seconds", *(name for name in LONG if name != NO_INTERVAL or problems)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    for at, setting in enumerate(settings):
        first = setting.first
        row: dict[str, object] = {name: first.overrides.get(name, "") for name in names}
        row |= {"run": first.run, "status": first.status, "error": first.error, "runs": len(setting.trials)}
        if setting.missing:
            row["runs"] = f"{len(setting.trials)} of {len(setting.trials) + setting.missing}"
        row["ranked_by"] = label_of(first.ranking, rankings)
        for score in scores:
            mean, deviation = setting.score(score) or (math.nan, math.nan)
            row |= {} if math.isnan(mean) else {score: mean}
            row |= {} if math.isnan(deviation) else {f"{score}{DEVIATION}": deviation}
        if first.record is not None:
            row |= {"seconds": round(setting.seconds, 1), "command": first.record.command}
        if at in found:
            interval, mark, problem = found[at]
            row |= {} if interval is None else {"low": interval.low, "high": interval.high, "as_good": mark}
            row[NO_INTERVAL] = problem
        writer.writerow(row)
    return text.getvalue()


def _compared(folder: Path, settings: Sequence[Setting]) -> Intervals:
    """The intervals of the settings of each ranking, from the stored predictions of validation. A setting has none if
    it lacks them, or if it was not scored on the same samples as the others. settings: in the order of the table."""
    found: Intervals = {}
    for ranking in dict.fromkeys(setting.first.ranking for setting in settings):
        if ranking is None:
            continue
        own = [at for at, setting in enumerate(settings) if setting.first.ranking == ranking]
        scores: dict[int, list[SampleScore]] = {}
        for at in own:
            try:
                runs = [sample_score(it, ranking.monitor) for it in _predictions(folder, settings[at])]
            except RunError as error:
                found[at] = None, "", in_short(error.what)
                continue
            known = [run for run in runs if run is not None]
            if len(known) == len(settings[at].trials) and not settings[at].missing:
                scores[at] = known
        samples = next((runs[0].samples for runs in scores.values()), None)
        alike = [at for at, runs in scores.items() if all(run.samples == samples for run in runs)]
        drawn = intervals([scores[at] for at in alike], ranking.mode, best=0) or []
        compared = len(alike) > 1 and alike[0] == own[0]
        for turn, (at, interval) in enumerate(zip(alike, drawn, strict=False)):
            mark = "best" if turn == 0 else "yes" if interval.as_good else "no"
            found[at] = interval, mark * compared, ""
    return found


def _predictions(folder: Path, setting: Setting) -> Iterator[Predictions]:
    """Raises RunError if predictions that a run stored were removed, or cannot be read."""
    for trial in setting.trials:
        if trial.record is not None and "val" in trial.record.predictions:
            yield read(folder / trial.run, "val")


def _repeated(settings: Sequence[Setting]) -> bool:
    return any(len(setting.trials) > 1 or setting.missing for setting in settings)


def print_leaderboard(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    console = console_of_width()
    console.print(_drawn(rows, console.width))
    for row in rows:
        if row["error"]:
            console.print(f"{row['status']:11}  {row['run']}: {shown(str(row['error']))}")
        if row.get(NO_INTERVAL):
            console.print(f"{row['status']:11}  {row['run']}: no interval: {shown(row[NO_INTERVAL])}")
    trials = trials_of(path.parent)
    for names, equal in without_effect(trials).items():
        console.print(f"equal        {equal_runs(names, equal)}")
    for setting in settings_of(trials, path.parent):
        if setting.again:
            again = few([trial.run for trial in setting.again], MOST_NAMED)
            console.print(f"again        {again}: the same settings as another run in this row, counted once")
        if setting.unlike:
            console.print(
                f"unlike       {setting.first.run}: the same settings and seed as {setting.unlike}, but other scores: "
                "versions, threads or hardware may differ"
            )
    if "runs" in rows[0]:
        console.print(
            "runs         scores are means ± standard deviations over the runs of a setting, seconds are sums: "
            f"{path.parent / RUNS}"
        )
    if any(" of " in row.get("runs", "") for row in rows):
        console.print("incomplete   settings of which a run failed or was pruned come last")
    if any(row.get("low") for row in rows):
        console.print("interval     holds the score in 95 % of draws of the validation samples (paired bootstrap)")
    if any(row.get("as_good") for row in rows):
        console.print(
            "as good      not significantly worse than the best on these samples, with regard to the number of settings"
        )
    if "ranked_by" in rows[0]:
        console.print("separate     scores of different monitors or data cannot be compared: see ranked_by")
    console.print(f"leaderboard  {path}")
    _print_next(path.parent, rows, console)


def _shown(rows: Sequence[dict[str, str]]) -> list[str]:
    """The columns for which a terminal has room: of the test scores only those by which validation ranks, if any; no
    status if every run finished."""
    empty = {"as_good"} if not any(row.get("as_good") for row in rows) else set()
    if {row["status"] for row in rows} == {"finished"}:
        empty.add("status")
    left_out = {*LONG, "high", *empty}
    every = [column for column in rows[0] if column not in left_out and not column.endswith(DEVIATION)]
    alike = {column.replace("val/", "test/", 1) for column in every if column.startswith("val/")} & {*every}
    return [column for column in every if not alike or column in alike or not column.startswith("test/")]


def best_runs(folder: Path) -> list[Path]:
    """The runs of the best setting of each ranking: of the settings that come first in the table."""
    best = best_settings(settings_of(trials_of(folder), folder))
    return [folder / trial.run for setting in best.values() for trial in setting.trials]


def _drawn(rows: Sequence[dict[str, str]], width: int) -> Table:
    """The table; settings stand below one another in one column if it would be wider than `width` characters."""
    columns = _shown(rows)
    cells = [{column: one_line(_cell(row, column)) for column in columns} for row in rows]
    heads = {column: HEADS.get(column, column) for column in columns}
    needed = sum(max(len(heads[column]), *(len(row[column]) for row in cells)) + 3 for column in columns)
    settings = [column for column in columns if column not in OWN and not column.startswith(("val/", "test/"))]
    if needed > width and len(settings) > 1:
        for row in cells:
            row[SETTINGS] = "\n".join(f"{name}={row[name]}" for name in settings if row[name])
        first = columns.index(settings[0])
        columns = [*columns[:first], SETTINGS, *(column for column in columns[first:] if column not in settings)]
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        left = column in ("run", SETTINGS)
        table.add_column(heads.get(column, column), justify="left" if left else "right", no_wrap=True)
    for row in cells:
        table.add_row(*(row[column] for column in columns))
    return table


def _print_next(folder: Path, rows: Sequence[dict[str, str]], console: Console) -> None:
    """Print how the best run of each ranking is made again, and the command that evaluates it if its weights were
    saved."""
    best = {row.get("ranked_by", ""): row for row in reversed(rows) if row["status"] == "finished"}
    for label, row in reversed(best.items()):
        record = Record.read(folder / row["run"])
        end = f"   # the best {label}" if label else ""
        if record.command:
            command = re.sub("^frostline ", lambda _: f"{program()} ", record.command)
            console.print(f"best         {shown(command)}{end}", soft_wrap=True)
        if (settings := record.weights_settings) is not None:
            said = " ".join([program(), "evaluate", setting_of("run", folder / row["run"]), *settings])
            console.print(f"next         {said}{end}")


def _cell(row: dict[str, str], column: str) -> str:
    if column == "low":
        return f"{_short(row['low'])} … {_short(row['high'])}" if row["low"] else ""
    deviation = row.get(f"{column}{DEVIATION}", "")
    return _short(row[column]) + (f" ± {_short(deviation)}" if deviation else "")


def _short(cell: str) -> str:
    return f"{float(cell):.4f}" if re.fullmatch(r"-?\d+\.\d{5,}(e-?\d+)?", cell) else cell


def label_of(ranking: Ranking | None, rankings: Sequence[Ranking | None]) -> str:
    """Name a ranking by its monitor; add data and fingerprint only where the monitor is ambiguous."""
    others = [other for other in rankings if other is not None and other != ranking]
    if ranking is None:
        return ""
    said = ranking.monitor
    if any(other.monitor == ranking.monitor for other in others):
        said += f" of {ranking.data}"
    if any((other.monitor, other.data) == (ranking.monitor, ranking.data) for other in others):
        said += f" ({ranking.fingerprint[:6]})"
    return said
