"""Charts as SVG in the page's own colours, which change with light and dark. Lengths are in units of the SVG.

matplotlib would add a second to every run for its import, and its colours do not follow the page's.
"""

from collections.abc import Mapping, Sequence
from html import escape as escaped
from math import ceil, floor, isfinite, log10
from typing import NamedTuple

from frostline.errors import shown

WIDTH, HEIGHT = 640, 260
CHART = 480  # width of drawings that stand side by side
LETTER = 8.4  # width of a letter at most, in narrow windows, which have larger ones
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 26, 34
COLOURS = 6  # classes c0 ... c5 of the style sheet


class Scale(NamedTuple):
    """Maps low..high to first..last. log: by the logarithm."""

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (log10(it) if self.log else it for it in (self.low, self.high, value))
        return self.first + (at - low) / ((high - low) or 1) * (self.last - self.first)

    def ticks(self, most: int = 5) -> list[float]:
        if self.log:
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            every = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            found = [tick for tick in every if self.low <= tick <= self.high]
            whole = found[:: max(1, len(found) // most)]
            if len(whole) > 1:
                return whole
        step = _step((self.high - self.low) / most)
        first = ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, floor(self.high / step + 1e-9) + 1)]


def _step(least: float) -> float:
    power: float = 10.0 ** floor(log10(least)) if least > 0 else 1.0
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def escape(content: str) -> str:
    """Escape text for markup, and remove control characters."""
    return escaped(shown(content))


def figure(parts: Sequence[str], label: str, height: float = HEIGHT, width: float = WIDTH) -> str:
    """Wrap shapes into an SVG. label: read out in place of the drawing."""
    bounds = f'viewBox="0 0 {width:g} {height:g}" style="--width:{width:g}"'
    return f'<svg {bounds} role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def box(x: float, y: float, width: float, height: float, kind: str, title: str = "", style: str = "") -> str:
    """Draw a rectangle. title: its tooltip. style: inline CSS."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    own = f' style="{escape(style)}"' if style else ""
    bounds = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect {bounds} class="{kind}"{own}>{inside}</rect>'


def dot(x: float, y: float, radius: float, kind: str, title: str) -> str:
    """Draw a dot. kind: a colour, such as c0. title: its tooltip."""
    tip = f"<title>{escape(title)}</title>"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="dot {kind}">{tip}</circle>'


def polyline(points: Sequence[tuple[float, float]], kind: str, title: str = "", style: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    own = f' style="{escape(style)}"' if style else ""
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<polyline points="{path}" class="curve {kind}"{own}>{tip}</polyline>'


def number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.2g}" if abs(value) < 1e-3 else f"{value:.4g}"


def numbered(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Each tick with its label, whose digits are as many as tell them all apart."""
    labels = [number(tick) for tick in ticks]
    for digits in range(5, 16):
        if len({*labels}) == len({*ticks}):
            break
        labels = [f"{tick:.{digits}g}" for tick in ticks]
    return list(zip(ticks, labels, strict=True))


def short_labels(names: Sequence[str], most: int) -> list[str]:
    """Shorten names to `most` characters, so that different ones stay different: at their ends, else at their
    beginnings, else in the middle, else by a number."""
    most = max(most, 2)
    for cut in (_end, _last_part, _beginning, _middle):
        found = [name if len(name) <= most else cut(name, most) for name in names]
        if len({*found}) == len({*names}):
            return found
    order = list(dict.fromkeys(names))
    return [_end(f"{order.index(name) + 1}: {name}", most) for name in names]


def _end(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def _beginning(name: str, most: int) -> str:
    return f"…{name[1 - most :]}"


def _last_part(name: str, most: int) -> str:
    """Cut at the beginning up to a separator, if there is one near."""
    kept = name[1 - most :]
    at = next((at for at, letter in enumerate(kept[: most // 2]) if letter in "._-/, "), -1)
    return f"…{kept[at + 1 :].lstrip()}"


def _middle(name: str, most: int) -> str:
    return f"{name[: (most - 1) // 2]}…{name[-(most // 2) :]}"


def axes(x: Scale, y: Scale, *, whole: bool = False) -> list[str]:
    """Draw grid lines with their numbers. whole: label only whole numbers of x."""
    found = []
    for tick, label in numbered(y.ticks()):
        found += [line(x.first, y(tick), x.last, y(tick), "grid")]
        found += [text(x.first - 6, y(tick) + 4, label, "tick", "end")]
    shown = [tick for tick in x.ticks(8) if not whole or tick == round(tick)]
    found += [text(x(tick), y.first + 18, label, "tick") for tick, label in numbered(shown)]
    return found


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    boundaries: Sequence[tuple[float, str]],
    epochs: int,
    best: float | None,
    *,
    log: bool,
    label: str,
) -> str:
    """Draw lines over epochs; "" if no point can be drawn. series: points by name. boundaries: the first epoch of each
    phase, and its name. epochs: number of the run. best: the epoch to mark. log: use a logarithmic axis."""
    points = [it for own in series.values() for it in own if isfinite(it[1]) and (it[1] > 0 or not log)]
    if not points:
        return ""
    low, high = min(it[1] for it in points), max(it[1] for it in points)
    around = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    y = Scale(low if log else low - around, (high if high > low else low * 10) if log else high + around,
              HEIGHT - BOTTOM, TOP, log)  # fmt: skip
    x = Scale(0.5, epochs + 0.5, LEFT, CHART - RIGHT)
    parts = axes(x, y, whole=True)
    parts.append(text(CHART - RIGHT, HEIGHT - 2, "epoch", "tick", "end"))
    for turn, (first, name) in enumerate(boundaries):
        after = boundaries[turn + 1][0] if turn + 1 < len(boundaries) else epochs + 1
        at = x(first - 0.5)
        parts += [line(at, TOP, at, HEIGHT - BOTTOM, "boundary")] if turn else []
        if x(after - 0.5) - at > LETTER * len(name):
            parts.append(text(at + 4, TOP - 8, name, "phase", "start"))
    if best is not None:
        parts.append(line(x(best), TOP, x(best), HEIGHT - BOTTOM, "best"))
    for turn, (name, own) in enumerate(series.items()):
        parts.append(_path(name, [it for it in own if it in points], x, y, turn % COLOURS))
    return figure(parts, label, width=CHART)


def _path(name: str, points: Sequence[tuple[float, float]], x: Scale, y: Scale, colour: int) -> str:
    kind = f"c{colour}"
    dots = [dot(x(at), y(value), 3, kind, f"{name}, epoch {at:g}: {number(value)}") for at, value in points]
    return polyline([(x(at), y(value)) for at, value in points], kind) + "".join(dots if len(points) <= 60 else [])


def bars(rows: Sequence[tuple[str, float, tuple[float, float] | None]], label: str) -> str:
    """Draw a horizontal bar for each score, with a line for its interval. rows: name, score, ends."""
    values = [it for _, value, ends in rows for it in (value, *(ends or ()))]
    x = Scale(0, max(1.0, *values), 124, CHART - 70)
    height, parts = 30 * len(rows) + 24, []
    for tick in x.ticks():
        parts += [line(x(tick), 0, x(tick), height - 20, "grid"), text(x(tick), height - 5, number(tick), "tick")]
    for turn, (name, value, ends) in enumerate(rows):
        y = 30 * turn + 4
        kind = "bar own" if turn == len(rows) - 1 else "bar"
        parts += [text(116, y + 16, name, "name", "end"), box(x.first, y + 3, x(value) - x.first, 17, kind)]
        if ends is not None:
            parts += [line(x(ends[0]), y + 11.5, x(ends[1]), y + 11.5, "interval")]
            parts += [line(x(end), y + 7, x(end), y + 16, "interval") for end in ends]
        parts.append(text(max(x(value), x(ends[1]) if ends else 0) + 7, y + 16, f"{value:.4f}", "name", "start"))
    return figure(parts, label, height, CHART)


def risk(points: Sequence[tuple[float, float]], label: str) -> str:
    """Draw the error rate over the share of samples that are answered. points: coverage and error rate."""
    side = 300
    most = max(error for _, error in points)
    x, y = Scale(0, 1, 44, side - 8), Scale(0, most * 1.1 or 1.0, side - BOTTOM, 10)
    parts = [*axes(x, y), polyline([(x(at), y(error)) for at, error in points], "c0")]
    parts += [text(side - 8, side - 2, "share answered", "tick", "end"), text(48, 20, "error rate", "tick", "start")]
    return figure(parts, label, side, side)


def reliability(bins: Sequence[tuple[float, float, int]], label: str) -> str:
    """Draw accuracy over confidence. bins: mean confidence, accuracy and number of samples of each bin."""
    side = 300
    x, y = Scale(0, 1, 44, side - 8), Scale(0, 1, side - BOTTOM, 10)
    most = max(count for *_, count in bins)
    parts = [*axes(x, y), line(x(0), y(0), x(1), y(1), "boundary")]
    for confidence, accuracy, count in bins:
        title = f"{count} samples: confidence {confidence:.3f}, accuracy {accuracy:.3f}"
        parts.append(line(x(confidence), y(confidence), x(confidence), y(accuracy), "gap"))
        parts.append(dot(x(confidence), y(accuracy), 3 + 6 * (count / most) ** 0.5, "c0", title))
    parts += [text(side - 8, side - 2, "confidence", "tick", "end"), text(48, 20, "accuracy", "tick", "start")]
    return figure(parts, label, side, side)
