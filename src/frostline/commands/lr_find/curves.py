"""Draw the curves of a range test, one panel per phase."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from frostline.commands.lr_find.range_test import RateCurve
from frostline.report.summary import learns

COLUMNS = 3  # of panels, at most
PANEL = (4.8, 3.6)  # inches
DOTS_PER_INCH = 150
INK, FAINT, GRID = "#333333", "#8c8c8c", "#e6e6e6"
LOSS, SUGGESTED = "#0072b2", "#d55e00"  # Okabe and Ito's colour-blind-safe blue and vermilion

STYLES: dict[str, dict[str, Any]] = {"each step": {"alpha": 0.3, "linewidth": 0.8}, "smoothed": {"linewidth": 2}}
MARKED: dict[str, Any] = {"linewidth": 1.2, "linestyle": "--", "marker": "o", "markersize": 6}


def picture_of(curves: Sequence[RateCurve], title: str) -> bytes:
    """Return a PNG of raw and smoothed losses over the base rate, with the suggestion marked."""
    columns = min(len(curves), COLUMNS)
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.7), layout="constrained", dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=12)
    panels = figure.subplots(rows, columns, squeeze=False)
    for number, panel in enumerate(panels.flat):
        if number < len(curves):
            _draw(panel, curves[number])
        else:
            panel.set_axis_off()
    for panel in panels[:, 0]:
        panel.set_ylabel("training loss", color=INK)
    handles = [Line2D([], [], color=LOSS, label=label, **style) for label, style in STYLES.items()]
    handles.append(Line2D([], [], color=SUGGESTED, label="suggested", **MARKED))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw(panel: Axes, curve: RateCurve) -> None:
    for losses, style in zip((curve.losses, curve.smoothed), STYLES.values(), strict=True):
        panel.plot(curve.rates, losses, color=LOSS, **style)
    panel.set_xscale("log")
    panel.set_xlim(curve.test.lowest, curve.test.highest)
    panel.set_ylim(*_span(curve))
    if curve.suggestion is not None:
        panel.axvline(curve.suggestion, color=SUGGESTED, linewidth=1.2, linestyle="--")
        panel.plot([curve.suggestion], [curve.smoothed_at(curve.suggestion)], "o", color=SUGGESTED, markersize=6)
    _dress(panel, curve)


def _span(curve: RateCurve) -> tuple[float, float]:
    """Limits of the loss axis. Losses far above the first one are cut off, as a divergence would flatten the rest."""
    low, begun = min(curve.losses), curve.smoothed[0]
    height = max(begun - low, 0.1 * begun, 1e-3)
    return low - 0.05 * height, low + 1.35 * height


def _dress(panel: Axes, curve: RateCurve) -> None:
    panel.set_title(curve.phase, loc="left", color=INK, fontweight="bold", fontsize=11)
    title = "no rate stands out" if curve.suggestion is None else f"optimizer.lr={curve.suggestion:g}"
    panel.set_title(title, loc="right", color=SUGGESTED if curve.suggestion is not None else FAINT, fontsize=11)
    panel.set_xlabel(f"base rate; learns: {learns(curve.learns)}", color=INK)
    panel.tick_params(colors=INK, labelsize=9)
    panel.grid(color=GRID, linewidth=0.7)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        panel.spines[side].set_color(FAINT)
