"""Print a leaderboard: the columns for which a terminal has room, what they mean, and the next commands."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from frostline.errors import few, one_line, shown, steps_in
from frostline.quoting import program, setting_of, with_program
from frostline.report.importances import importances_in, main_effects
from frostline.report.leaderboard import BESIDE, CAUTION, DEVIATION, HIGH, LONG, LOW, NO_INTERVAL
from frostline.report.score_intervals import cautions
from frostline.report.summary import console_of_width
from frostline.report.trials import Trial, settings_of, trials_of
from frostline.report.without_effect import equal_runs, without_effect
from frostline.runs.record import Record
from frostline.runs.sweep_names import RUNS
from frostline.runs.sweeps import Sweep

HEADS = {"low": "95 % interval", "as_good": "as good"}  # of columns in the terminal
BROKEN = {"low": "95 %\ninterval", "as_good": "as\ngood"}  # in a narrow terminal
FOLDED = 30  # characters; longer settings stand on several lines in a narrow terminal
OWN = {"run", "status", "ranked_by", "runs", "low", "as_good", "seconds"}  # columns beside settings and scores
NEEDED = {"run", "status"}  # columns of every table
SETTINGS = "settings"  # the column of them all, in a narrow terminal
DISPENSABLE = ("seconds", "as_good", "low", "runs", "status")  # columns that a very narrow terminal lacks
LONG_NUMBER = re.compile(r"-?\d+\.\d{5,}(e-?\d+)?")
MOST_NAMED = 20  # runs in a line


def print_leaderboard(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    console = console_of_width()
    for label, group in _by_ranking(rows):
        if label is not None:
            console.print(f"\n{label}")
        console.print(_drawn(group, console.width))
    trials = trials_of(path.parent)
    _print_problems(rows, _steps_of(trials, path.parent), console)
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
        console.print("interval     95 % interval of the validation score over the validation samples")
    scores = [column for column in _shown(rows) if f"{column}{LOW}" in rows[0]]
    if scores:
        console.print("brackets     95 % interval of a test score over the test samples")
    for doubt in dict.fromkeys(cautions_of(rows, scores)):
        console.print(f"caution      {shown(one_line(doubt))}")
    if any(row.get("as_good") for row in rows):
        console.print(
            "as good      not significantly worse than the best on these samples (paired bootstrap), with regard to "
            "the number of settings"
        )
    if "ranked_by" in rows[0]:
        console.print("separate     scores of different monitors or data cannot be compared: a table for each")
    _print_importances(rows, path.parent, console)
    console.print(f"leaderboard  {path}")
    _print_next(path.parent, rows, console)


def _print_problems(rows: Sequence[Mapping[str, str]], steps: Mapping[str, str], console: Console) -> None:
    """Print why runs did not finish, those with the same next steps together, and why scores have no interval. steps:
    of the errors, by run."""
    alike: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        if row["error"]:
            alike[steps.get(row["run"], "")].append(row)
    for proposed, group in alike.items():
        for row in group:
            console.print(f"{row['status']:11}  {row['run']}: {shown(str(row['error']))}")
        if proposed:
            console.print(with_program(shown(proposed)), soft_wrap=True)
    for row in rows:
        if row.get(NO_INTERVAL):
            console.print(f"{row['status']:11}  {row['run']}: no interval: {shown(row[NO_INTERVAL])}")


def _print_importances(rows: Sequence[Mapping[str, str]], folder: Path, console: Console) -> None:
    """Print which settings mattered: as a search has stored it, or of a grid whose settings all finished."""
    method, shares = "share of the variance of the scores, fANOVA", importances_in(folder)
    if not shares and "ranked_by" not in rows[0]:
        score = next((name for name in rows[0] if name.startswith("val/")), "")
        names = [name for name in rows[0] if _is_setting(name) and name not in (*LONG, "high", "caution")]
        is_whole = all(row["status"] == "finished" and " of " not in row.get("runs", "") for row in rows)
        shares = main_effects(rows, names, score) if score and is_whole else {}
        method = "share of the variance of the scores that each explains alone"
    if shares:
        named = ", ".join(f"{one_line(name)} {share:.2f}" for name, share in shares.items())
        console.print(f"importance   {named} ({method})")


def _steps_of(trials: Sequence[Trial], folder: Path) -> dict[str, str]:
    """The `next:` lines of each run's error, as its job noted them, or else as its record has them."""
    sweep = Sweep(folder, [], "")
    noted = {note.run: note.steps for number in sweep.numbers() if (note := sweep.note(number)) is not None}
    errors = {it.run: it.record.error["message"] for it in trials if it.record is not None and it.record.error}
    return {it.run: noted.get(it.run) or steps_in(errors.get(it.run, "")) for it in trials}


def cautions_of(rows: Sequence[Mapping[str, str]], scores: Sequence[str]) -> Iterator[str]:
    """Sentences on intervals of the score that ranks and of some test scores, those of each row."""
    for row in rows:
        ranked = row.get("ranked_by") or next((name for name in row if name.startswith("val/")), "validation")
        yield from cautions({ranked: {"caution": row.get("caution")}})
        yield from cautions({score: {"caution": row.get(f"{score}{CAUTION}")} for score in scores})


def _shown(rows: Sequence[dict[str, str]]) -> list[str]:
    """The columns for which a terminal has room: of the test scores only those by which validation ranks, if any; no
    status if every run finished."""
    empty = {"as_good"} if not any(row.get("as_good") for row in rows) else set()
    if {row["status"] for row in rows} == {"finished"}:
        empty.add("status")
    left_out = {*LONG, "high", "caution", *empty}
    every = [column for column in rows[0] if column not in left_out and not column.endswith(BESIDE)]
    alike = {column.replace("val/", "test/", 1) for column in every if column.startswith("val/")} & {*every}
    return [column for column in every if not alike or column in alike or not column.startswith("test/")]


def _by_ranking(rows: Sequence[dict[str, str]]) -> Iterator[tuple[str | None, list[dict[str, str]]]]:
    """Yield the heading and the rows of each table. If there are several, a table lacks the columns that are empty in
    all of its rows. heading: None for the only table."""
    if "ranked_by" not in rows[0]:
        yield None, [*rows]
        return
    for label in dict.fromkeys(row["ranked_by"] for row in rows):
        group = [row for row in rows if row["ranked_by"] == label]
        kept = [name for name in rows[0] if name != "ranked_by" and (name in NEEDED or any(row[name] for row in group))]
        heading = f"ranked by {shown(one_line(label))}" if label else "not ranked"
        yield heading, [{name: row[name] for name in kept} for row in group]


class _Form(NamedTuple):
    """A way to write the table. heads: by column. folds: the column whose lines may break anywhere, if any; run names,
    the first lines of the column `run`, do not."""

    heads: dict[str, str]
    cells: list[dict[str, str]]
    folds: str = ""

    def longest(self, column: str) -> int:
        """Characters of the longest line."""
        texts = [self.heads[column], *(row[column] for row in self.cells)]
        return max(cell_len(line) for text in texts for line in text.split("\n"))

    def least(self, column: str) -> int:
        """Characters of the column where it is as narrow as it may be."""
        if column != self.folds:
            return self.longest(column)
        names = [cell_len(row[column].partition("\n")[0]) for row in self.cells] if column == "run" else [0]
        return max(*names, min(self.longest(column), FOLDED))

    def needed(self) -> int:
        """Characters of a line of the table."""
        return 1 + sum(self.least(column) + 3 for column in self.heads)


def _drawn(rows: Sequence[dict[str, str]], width: int) -> Table:
    """The table. If it would be wider than `width` characters, intervals of test scores stand below them; if that is
    not enough, settings below one another in one column, those of more than FOLDED characters over several lines; then
    settings stand below the names of runs, and heads and intervals break; then it lacks the DISPENSABLE columns. Names
    of runs and numbers are never cut: a table that is still wider goes beyond the terminal."""
    for form in _forms(rows):
        if form.needed() <= width:
            break
    for column in DISPENSABLE:  # leaderboard.csv has all of them
        if form.needed() > width:
            form.heads.pop(column, None)
    room = width - form.needed()
    table = Table(box=box.SIMPLE_HEAD, show_edge=room >= 0)
    for column, head in form.heads.items():
        of_column = form.least(column)
        if column == form.folds:
            of_column = min(form.longest(column), of_column + max(0, room))
        left = column in ("run", SETTINGS)
        table.add_column(
            head,
            justify="left" if left else "right",
            no_wrap=column != form.folds,
            overflow="fold",
            min_width=of_column,
            max_width=of_column,
        )
    for row in form.cells:
        table.add_row(*(row[column] for column in form.heads))
    return table


def _forms(rows: Sequence[dict[str, str]]) -> Iterator[_Form]:
    """Yield the forms of the table, as a rule each narrower than the one before."""
    columns = _shown(rows)
    heads = {column: HEADS.get(column, column) for column in columns}
    yield _Form({**heads}, [{column: _cell(row, column, " ") for column in columns} for row in rows])
    cells = [{column: _cell(row, column, "\n") for column in columns} for row in rows]
    yield _Form({**heads}, cells)
    settings = [column for column in columns if _is_setting(column)]
    together = [[f"{name}={row[name]}" for name in settings if row[name]] for row in cells]
    if settings:
        first = columns.index(settings[0])
        others = [column for column in columns[first:] if column not in settings]
        heads = {name: heads.get(name, name) for name in (*columns[:first], SETTINGS, *others)}
        below = [{**row, SETTINGS: "\n".join(lines)} for row, lines in zip(cells, together, strict=True)]
        yield _Form({**heads}, below, SETTINGS)
    broken = {name: BROKEN.get(name) or heads[name].replace("/", "/\n") for name in heads if name != SETTINGS}
    cells = [{column: _cell(row, column, "\n", "\n") for column in broken} for row in rows]
    for row, lines in zip(cells, together, strict=True):
        row["run"] = "\n  ".join([row["run"], *lines])
    yield _Form(broken, cells, "run")


def _is_setting(column: str) -> bool:
    return column not in OWN and not column.startswith(("val/", "test/"))


def _print_next(folder: Path, rows: Sequence[dict[str, str]], console: Console) -> None:
    """Print how the best run of each ranking is made again, and the command that evaluates it if its weights were
    saved."""
    best = {row.get("ranked_by", ""): row for row in reversed(rows) if row["status"] == "finished"}
    for label, row in reversed(best.items()):
        record = Record.read(folder / row["run"])
        end = f"   # the best {label}" if label else ""
        if record.command:
            console.print(with_program(f"best         {shown(record.command)}{end}"), soft_wrap=True)
        if (settings := record.weights_settings) is not None:
            command = " ".join([program(), "evaluate", setting_of("run", folder / row["run"]), *settings])
            console.print(f"next         {command}{end}")


def _cell(row: dict[str, str], column: str, between: str, within: str = " ") -> str:
    """between: a score and its interval. within: the ends of an interval, a mean and its deviation."""
    if column == "low":
        return f"{_short(row['low'])} …{within}{_short(row['high'])}" if row["low"] else ""
    deviation = row.get(f"{column}{DEVIATION}", "")
    ends = [row.get(f"{column}{end}", "") for end in (LOW, HIGH)]
    interval = f"{between}({_short(ends[0])} …{within}{_short(ends[1])})" if all(ends) else ""
    if _is_setting(column):
        return one_line(short_setting(row[column]))
    return one_line(_short(row[column])) + (f"{within}± {_short(deviation)}" if deviation else "") + interval


def _short(cell: str) -> str:
    return f"{float(cell):.4f}" if LONG_NUMBER.fullmatch(cell) else cell


def short_setting(cell: str) -> str:
    """Shorten a drawn number such as 0.00016297508346206434 to four digits, as rates differ in their magnitude."""
    return f"{float(cell):.4g}" if LONG_NUMBER.fullmatch(cell) else cell
