"""Charts of a sweep: its scores over each setting that it varied, and over all of them side by side.

Values of a setting are texts as typed. Numbers get an axis of numbers, with a place of their own for runs that lack the
setting; others get a place each.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import NamedTuple

from frostline.pages.drawing import (
    BOTTOM,
    CHART,
    HEIGHT,
    LEFT,
    LETTER,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    dot,
    figure,
    line,
    number,
    numbered,
    polyline,
    short_labels,
    text,
)

LOG_FROM = 8  # ratio of the largest to the smallest value from which an axis is logarithmic
MOST_TICKS = 6
MOST_NAMES = 14  # places of an axis of names; further ones share the last place
MOST_WORDS = 2  # that may stand beside numbers on their axis
WORD = 0.14  # share of the axis for each of them
LONGEST = 18  # characters of a name
ROW = 24  # height of a row with a name
END, LINE = 60, 13  # room for the name of the score; height of a line of text
SMALL, BOLD = 6.8, 8.3  # widths of letters in a drawing that does not shrink
AXIS = 118  # width for each setting


class Tried(NamedTuple):
    """A run of a sweep. values: of the settings that differ, in their order. best: of the best setting."""

    name: str
    values: tuple[str, ...]
    score: float
    best: bool


class Axis(NamedTuple):
    """ticks: position (0 to 1) and name. places: position of each value, in the order of the runs. numbers: whether
    positions have a meaning between the ticks."""

    ticks: list[tuple[float, str]]
    places: list[float]
    numbers: bool


def axis_of(values: Sequence[str]) -> Axis:
    """An axis for the values of one setting, the best run's first; "" of a run without the setting."""
    numbers = sorted({it for value in values if (it := number_of(value)) is not None})
    words = _in_order({value for value in values if number_of(value) is None})
    if len(numbers) < 2 or len(words) > MOST_WORDS:
        return _of_names(values)
    place = {word: turn * WORD for turn, word in enumerate(words)}
    scale = _scale(numbers)._replace(first=len(words) * WORD)
    shown = numbers if len(numbers) <= MOST_TICKS else scale.ticks(MOST_TICKS)
    ticks = [(place[word], word or "–") for word in words] + [(scale(tick), label) for tick, label in numbered(shown)]
    places = [place[value] if (it := number_of(value)) is None else scale(it) for value in values]
    return Axis(ticks, places, True)


def _of_names(values: Sequence[str]) -> Axis:
    """Names in their natural order; of too many those of the best runs, and one place for the others."""
    names = list(dict.fromkeys(values))
    many = len(names) > MOST_NAMES
    shown = _in_order(names[: MOST_NAMES - 1] if many else names)
    labels = [name or "–" for name in shown] + ([f"{len(names) - len(shown)} others"] if many else [])
    last = len(labels) - 1
    place = {name: turn / last if last else 0.5 for turn, name in enumerate(shown)}
    ticks = [(turn / last if last else 0.5, label) for turn, label in enumerate(labels)]
    return Axis(ticks, [place.get(value, 1.0) for value in values], False)


def _in_order(values: Iterable[str]) -> list[str]:
    """Runs without the setting first, then numbers, then words."""
    found = [(value != "", number_of(value) is None, number_of(value) or 0.0, value) for value in values]
    return [value for *_, value in sorted(found)]


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


def scatter(name: str, at: int, runs: Sequence[Tried], score: str) -> str:
    """Draw the score of each run over one setting: upwards over numbers, to the right in a row for each name. at: its
    index among `Tried.values`."""
    axis = axis_of([run.values[at] for run in runs])
    draw = _over_numbers if axis.numbers else _over_names
    parts, height = draw(axis, runs, score)
    return figure(parts, f"{score} by {name}: {_extremes(runs, at)}", height, CHART)


def _over_numbers(axis: Axis, runs: Sequence[Tried], score: str) -> tuple[list[str], float]:
    y = _scores(runs, HEIGHT - BOTTOM, TOP)
    x = Scale(0, 1, LEFT + 24, CHART - RIGHT - 24)
    parts = [text(LEFT, TOP - 12, score, "tick", "start")]
    for tick, label in numbered(y.ticks()):
        parts += [line(LEFT, y(tick), CHART - RIGHT, y(tick), "grid")]
        parts += [text(LEFT - 6, y(tick) + 4, label, "tick", "end")]
    free = 0.0
    for place, label in axis.ticks:
        half = LETTER * len(label) / 2
        if x(place) - half >= free:
            parts.append(text(x(place), HEIGHT - BOTTOM + 20, label, "tick"))
            free = x(place) + half + LETTER
    parts += [_dot(run, x(place), y(run.score), score) for place, run in _best_last(axis, runs)]
    return parts, HEIGHT


def _over_names(axis: Axis, runs: Sequence[Tried], score: str) -> tuple[list[str], float]:
    labels = short_labels([label for _, label in axis.ticks], LONGEST)
    left = 16 + LETTER * max(map(len, labels))
    bottom = TOP + ROW * len(labels)
    x, y = _scores(runs, left, CHART - 24), Scale(0, 1, TOP + ROW / 2, bottom - ROW / 2)
    parts = [text(left, TOP - 12, score, "tick", "start")]
    for tick, label in numbered(x.ticks()):
        parts += [line(x(tick), TOP, x(tick), bottom, "grid"), text(x(tick), bottom + 18, label, "tick")]
    for (place, _), label in zip(axis.ticks, labels, strict=True):
        parts.append(text(left - 10, y(place) + 4, label, "name", "end"))
    parts += [_dot(run, x(run.score), y(place), score) for place, run in _best_last(axis, runs)]
    return parts, bottom + 26


def _best_last(axis: Axis, runs: Sequence[Tried]) -> list[tuple[float, Tried]]:
    """The best ones are drawn above the others."""
    return sorted(zip(axis.places, runs, strict=True), key=lambda pair: pair[1].best)


def _dot(run: Tried, x: float, y: float, score: str) -> str:
    size, kind = (6, "c1") if run.best else (4.5, "c0")
    return dot(x, y, size, kind, _title(run, score))


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
    first = short_labels([label for _, label in axes[0].ticks], LONGEST)
    left = max(SMALL * max(map(len, first)) + 12, END)
    width = max(WIDTH, left + AXIS * len(names) + END)
    x = Scale(0, len(names), left, width - END)
    room = int((x(1) - x(0) - 12) / SMALL)
    parts = []
    order = sorted(range(len(runs)), key=lambda it: (runs[it].best, runs[it].score if maximal else -runs[it].score))
    for turn, it in enumerate(order):
        run = runs[it]
        places = [(x(at), _height(axis, axis.places[it], y)) for at, axis in enumerate(axes)]
        places.append((x(len(names)), scores(run.score)))
        strength = 1 if run.best else 0.15 + 0.6 * turn / max(len(runs) - 1, 1)
        kind, style = "c1" if run.best else "c0", f"stroke-opacity:{strength:.2f}"
        parts.append(polyline(places, kind, _title(run, score), style))
    titles = short_labels(names, int(1.9 * (x(1) - x(0)) / BOLD))  # in two rows
    for at, (title, axis) in enumerate(zip(titles, axes, strict=True)):
        parts += _upright(x(at), top, bottom, at, title)
        labels = short_labels([label for _, label in axis.ticks], min(room, LONGEST) if at else LONGEST)
        parts += [text(x(at) - 6, place + 4, label, "tick halo", "end") for label, place in _spread(labels, axis, y)]
    end = x(len(names))
    parts += _upright(end, top, bottom, len(names), short_labels([score], int(2 * END / BOLD))[0])
    parts += [text(end + 6, scores(tick) + 4, it, "tick", "start") for tick, it in numbered(scores.ticks())]
    best = next((run for run in runs if run.best), runs[0])
    settings = ", ".join(f"{name} {value}" for name, value in zip(names, best.values, strict=True))
    return figure(
        parts, f"A line for each of {len(runs)} runs through its settings. Best: {settings}", HEIGHT + 30, width
    )


def _spread(labels: Sequence[str], axis: Axis, y: Scale) -> list[tuple[str, float]]:
    """Labels with their heights; those that would lie on the one before are left out."""
    found: list[tuple[str, float]] = []
    for label, (place, _) in zip(labels, axis.ticks, strict=True):
        height = _height(axis, place, y)
        if not found or abs(found[-1][1] - height) >= LINE:
            found.append((label, height))
    return found


def _height(axis: Axis, place: float, y: Scale) -> float:
    """Numbers rise, names are read downwards."""
    return y(place if axis.numbers else 1 - place)


def _upright(x: float, top: float, bottom: float, turn: int, name: str) -> list[str]:
    """An axis with its name; neighbours' names stand in two rows."""
    return [line(x, top, x, bottom, "boundary"), text(x, TOP + 4 - 14 * (turn % 2), name, "phase")]


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
    ends = [end for row in rows for end in row[1:4]]
    x = Scale(min(ends), max(ends), 22, CHART - 22)
    step = 38
    height, parts = step * len(rows) + 26, []
    for tick, label in numbered(x.ticks()):
        parts += [line(x(tick), 0, x(tick), height - 20, "grid"), text(x(tick), height - 5, label, "tick")]
    labels = short_labels([row[0] for row in rows], int((CHART - 70) / LETTER))
    for turn, (label, (_, value, low, high, good)) in enumerate(zip(labels, rows, strict=True)):
        y = step * turn + 28
        parts += [text(2, y - 12, label, "name halo", "start")]
        parts += [
            line(x(low), y, x(high), y, "interval"),
            *(line(x(end), y - 4, x(end), y + 4, "interval") for end in (low, high)),
        ]
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" class="dot {MARKS[good][0]}"/>')
        parts.append(text(CHART - 2, y - 12, f"{value:.4f}", "name halo", "end"))
    values = "; ".join(f"{name}: {value:.4f}, {low:.4f} to {high:.4f}" for name, value, low, high, _ in rows)
    return figure(parts, f"{score} of each setting with its interval. {values}", height, CHART)
