"""Charts of a sweep: its scores over each setting that it varied, and over all of them side by side.

Values of a setting are texts as typed: numbers get an axis of numbers, others a place each.
"""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from frostline.pages.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    dot,
    figure,
    line,
    number,
    polyline,
    text,
)

LOG_FROM = 20  # ratio of the largest to the smallest value from which an axis is logarithmic
MOST_TICKS = 6
MOST_NAMES = 14  # places of an axis of names; further ones share the last place
LONGEST = 16  # characters of a name
SIDE = 60  # room for the names beside parallel axes


class Tried(NamedTuple):
    """A run of a sweep. values: of the settings that differ, in their order. best: of the best setting."""

    name: str
    values: tuple[str, ...]
    score: float
    best: bool


class Axis(NamedTuple):
    """ticks: position (0 to 1) and name. places: position of each value, in the order of the runs."""

    ticks: list[tuple[float, str]]
    places: list[float]


def axis_of(values: Sequence[str]) -> Axis:
    """An axis for the values of one setting."""
    numbers = [number_of(value) for value in values]
    distinct = sorted({it for it in numbers if it is not None})
    if len(distinct) < 2 or None in numbers:
        return _of_names(values)
    scale = _scale(distinct)
    ticks = distinct if len(distinct) <= MOST_TICKS else scale.ticks(MOST_TICKS)
    return Axis([(scale(tick), number(tick)) for tick in ticks], [scale(it) for it in numbers if it is not None])


def _of_names(values: Sequence[str]) -> Axis:
    names = list(dict.fromkeys(values))
    last = min(len(names), MOST_NAMES) - 1

    def place(at: int) -> float:
        return 0.5 if last == 0 else min(at, last) / last

    labels = [_short(name) for name in names[: last + 1]]
    if len(names) > MOST_NAMES:
        labels[-1] = f"{len(names) - last} others"
    return Axis([(place(at), name) for at, name in enumerate(labels)], [place(names.index(value)) for value in values])


def _scale(values: Sequence[float]) -> Scale:
    low, high = values[0], values[-1]
    return Scale(low, high, 0.0, 1.0, log=low > 0 and high / low >= LOG_FROM)


def number_of(value: str) -> float | None:
    """None if a text is no finite number."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if isfinite(found) else None


def _short(name: str) -> str:
    return "–" if not name else name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def scatter(name: str, at: int, runs: Sequence[Tried], score: str) -> str:
    """Draw the score of each run over one setting. at: its index among `Tried.values`."""
    axis = axis_of([run.values[at] for run in runs])
    y = _scores(runs, HEIGHT - BOTTOM - 10, TOP)
    x = Scale(0, 1, LEFT + 24, WIDTH - RIGHT - 24)
    parts = []
    for tick in y.ticks():
        parts += [
            line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid"),
            text(LEFT - 6, y(tick) + 4, number(tick), "tick", "end"),
        ]
    room = (WIDTH - LEFT) / max(len(axis.ticks), 1) / 6.5
    for turn, (place, tick_name) in enumerate(axis.ticks):
        down = 16 if len(tick_name) > room and turn % 2 else 0  # names that would meet stand in two rows
        parts.append(text(x(place), HEIGHT - BOTTOM + 10 + down, tick_name, "tick"))
    pairs = sorted(zip(axis.places, runs, strict=True), key=lambda pair: pair[1].best)
    for place, run in pairs:
        size, kind = (6, "c1") if run.best else (4.5, "c0")
        parts.append(dot(x(place), y(run.score), size, kind, _title(run, score)))
    return figure(parts, f"{score} by {name}: {_extremes(runs, at)}")


def _title(run: Tried, score: str) -> str:
    return f"{run.name}: {', '.join(run.values)}: {score} {number(run.score)}"


def _extremes(runs: Sequence[Tried], at: int) -> str:
    """For a screen reader: the range of scores for each value, of at most MOST_NAMES."""
    found: dict[str, list[float]] = {}
    for run in runs:
        found.setdefault(run.values[at], []).append(run.score)
    shown = [*found.items()][:MOST_NAMES]
    return "; ".join(f"{name or 'none'} {number(min(own))} to {number(max(own))}" for name, own in shown)


def parallel(names: Sequence[str], runs: Sequence[Tried], score: str, *, maximal: bool) -> str:
    """Draw a line for each run through its values, one axis for each setting, the score last. Better runs have
    stronger lines. maximal: whether the highest score is best."""
    axes = [axis_of([run.values[at] for run in runs]) for at in range(len(names))]
    y, top, bottom = Scale(0, 1, HEIGHT + 10, TOP + 22), TOP + 22, HEIGHT + 10
    scores = _scores(runs, bottom, top)
    x = Scale(0, len(names), SIDE, WIDTH - SIDE)
    parts = []
    order = sorted(range(len(runs)), key=lambda it: (runs[it].best, runs[it].score if maximal else -runs[it].score))
    for turn, it in enumerate(order):
        run = runs[it]
        places = [(x(at), y(axis.places[it])) for at, axis in enumerate(axes)] + [(x(len(names)), scores(run.score))]
        strength = 1 if run.best else 0.15 + 0.6 * turn / max(len(runs) - 1, 1)
        kind, style = "c1" if run.best else "c0", f"stroke-opacity:{strength:.2f}"
        parts.append(polyline(places, kind, _title(run, score), style))
    for at, (name, axis) in enumerate(zip(names, axes, strict=True)):
        parts += _upright(x(at), top, bottom, at, name)
        parts += [text(x(at) - 6, y(place) + 4, label, "tick halo", "end") for place, label in axis.ticks]
    end = x(len(names))
    parts += _upright(end, top, bottom, len(names), score)
    parts += [text(end + 6, scores(tick) + 4, number(tick), "tick", "start") for tick in scores.ticks()]
    best = next((run for run in runs if run.best), runs[0])
    settings = ", ".join(f"{name} {value}" for name, value in zip(names, best.values, strict=True))
    return figure(parts, f"A line for each of {len(runs)} runs through its settings. Best: {settings}", HEIGHT + 30)


def _upright(x: float, top: float, bottom: float, turn: int, name: str) -> list[str]:
    """An axis with its name; neighbours' names stand in two rows."""
    return [line(x, top, x, bottom, "boundary"), text(x, TOP + 4 - 14 * (turn % 2), _short(name), "phase")]


def _scores(runs: Sequence[Tried], first: float, last: float) -> Scale:
    low, high = min(run.score for run in runs), max(run.score for run in runs)
    around = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Scale(low - around, high + around, first, last)


# Colour and meaning of a dot, by whether a setting is as good as the best: None if it was not compared.
MARKS: dict[bool | None, tuple[str, str]] = {
    True: ("c1", "as good as the best"),
    False: ("c0", "significantly worse"),
    None: ("c2", "not compared"),
}


def forest(rows: Sequence[tuple[str, float, float, float, bool | None]], score: str) -> str:
    """Draw a row with its interval for each setting. rows: name, score, low, high, and a key of MARKS."""
    x = Scale(min(row[2] for row in rows), max(row[3] for row in rows), 190, WIDTH - 66)
    height, parts = 24 * len(rows) + 26, []
    for tick in x.ticks():
        parts += [line(x(tick), 0, x(tick), height - 20, "grid"), text(x(tick), height - 5, number(tick), "tick")]
    for turn, (name, value, low, high, good) in enumerate(rows):
        y = 24 * turn + 14
        parts += [text(182, y + 4, name if len(name) <= 28 else f"{name[:27]}…", "name", "end")]
        parts += [
            line(x(low), y, x(high), y, "interval"),
            *(line(x(end), y - 4, x(end), y + 4, "interval") for end in (low, high)),
        ]
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" class="dot {MARKS[good][0]}"/>')
        parts.append(text(WIDTH - 4, y + 4, f"{value:.4f}", "name", "end"))
    values = "; ".join(f"{name}: {value:.4f}, {low:.4f} to {high:.4f}" for name, value, low, high, _ in rows)
    return figure(parts, f"{score} of each setting with its interval. {values}", height)
