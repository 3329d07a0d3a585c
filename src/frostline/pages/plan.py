"""The plan as it ran, on a time axis: which blocks were frozen, which learned at which rate."""

from collections.abc import Sequence
from typing import Any

from frostline.pages.drawing import WIDTH, box, figure, line, number, short_labels, text

ROW, LEAST = 22, 26  # height of a row, width of the narrowest phase
LETTER, BOLD, LONGEST = 7.5, 8.3, 18  # widths of letters; letters of a name
MOST_ROWS = 24
OTHERS = "other blocks"


def plan(phases: Sequence[dict[str, Any]]) -> str:
    """Draw the phases of run.json as columns and the blocks as rows; the width of a column grows with its seconds."""
    blocks = _blocks(phases)
    seconds = [max(float(phase["seconds"]), 0.0) for phase in phases]
    labels = short_labels(blocks, LONGEST)
    left = 14 + LETTER * max(4, *map(len, labels))
    room = WIDTH - left - 8 - LEAST * len(phases)
    widths = [LEAST + room * second / (sum(seconds) or 1) for second in seconds]
    top, bottom = 40, 40 + ROW * len(blocks)
    highest = max((rate for phase in phases for rate in phase["learning_rates"].values()), default=0) or 1
    parts = [text(left - 8, top + ROW * row + 15, label, "name", "end") for row, label in enumerate(labels)]
    x, passed = left, 0.0
    for turn, (phase, width, second) in enumerate(zip(phases, widths, seconds, strict=True)):
        parts += _phase(phase, blocks, x, width, highest, top)
        if (fits := int((width - 3) / BOLD)) >= min(4, len(str(phase["name"]))):
            parts.append(text(x + 3, top - 22, short_labels([str(phase["name"])], fits)[0], "phase", "start"))
        duration = f"{second:.0f} s" if second >= 10 else f"{second:.1f} s"
        parts.append(text(x + 3, top - 7, duration if width > 6.2 * len(duration) else "", "tick", "start"))
        parts += [text(x, bottom + 16, f"{passed:.0f} s", "tick", "start")] if width > 60 or turn == 0 else []
        x, passed = x + width, passed + second
        parts.append(line(x, top - 34, x, bottom + 4, "boundary"))
    parts.append(text(x, bottom + 16, f"{passed:.0f} s", "tick", "end"))
    parts += _frost_line(phases, blocks, widths, left, top)
    label = "; ".join(_sentence(phase) for phase in phases)
    return figure(parts, f"Plan on a time axis. {label}", bottom + 24)


def _blocks(phases: Sequence[dict[str, Any]]) -> list[str]:
    """The head, then the blocks from the last one down. Blocks that never learn share one row."""
    found = list(dict.fromkeys(block for phase in phases for block in phase["learns"]))
    longest: list[str] = max((phase["learns"] for phase in phases), key=len, default=[])
    found = [*longest, *(block for block in found if block not in longest)][:MOST_ROWS]
    return found if any(phase["thaw"] == "all" for phase in phases) and len(found) < MOST_ROWS else [*found, OTHERS]


def _phase(
    phase: dict[str, Any], blocks: Sequence[str], x: float, width: float, highest: float, top: float
) -> list[str]:
    parts = []
    for row, block in enumerate(blocks):
        learns = block in phase["learns"]
        rate = float(phase["learning_rates"].get(block, 0.0))
        state = "solved" if learns and phase.get("solved") else f"rate {number(rate)}" if learns else "frozen"
        strength = 1.0 if phase.get("solved") else 0.35 + 0.65 * (max(rate, 0.0) / highest) ** 0.5
        style = f"--rate:{strength:.2f}" if learns else ""
        kind = "learns" if learns else "frozen"
        parts.append(box(x, top + ROW * row + 1, width - 1, ROW - 2, kind, f"{phase['name']}, {block}: {state}", style))
        if learns and width > 6.5 * len(state) + 8:
            parts.append(text(x + width / 2, top + ROW * row + 15, state, "inside"))
    return parts


def _frost_line(
    phases: Sequence[dict[str, Any]], blocks: Sequence[str], widths: Sequence[float], left: float, top: float
) -> list[str]:
    """Draw the line between the lowest block that learns and the frozen ones below it."""
    parts: list[str] = []
    before: float | None = None
    x = left
    for phase, width in zip(phases, widths, strict=True):
        lowest = max((row for row, block in enumerate(blocks) if block in phase["learns"]), default=-1)
        y = top + ROW * (lowest + 1)
        parts += [line(x, before, x, y, "frost")] if before is not None and before != y else []
        parts.append(line(x, y, x + width, y, "frost"))
        x, before = x + width, y
    return parts


def _sentence(phase: dict[str, Any]) -> str:
    return f"{phase['name']}: {', '.join(map(str, phase['learns'])) or 'nothing'} learn, {phase['seconds']:.1f} s"
