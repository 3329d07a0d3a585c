"""Fill a page's template: every text is escaped, and styles and scripts lie within the page."""

from collections.abc import Mapping
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from frostline import __version__
from frostline.errors import shown
from frostline.pages.drawing import number
from frostline.report.gaps import gap_words
from frostline.report.summary import learns

HERE = Path(__file__).parent


def filled(name: str, values: Mapping[str, Any]) -> str:
    """name: of a template in this folder, such as page.html."""
    from markupsafe import Markup

    inside = {
        "style": Markup((HERE / "page.css").read_text(encoding="utf-8")),
        "script": Markup((HERE / "page.js").read_text(encoding="utf-8")),
        "version": __version__,
    }
    return str(_environment().get_template(name).render(values, **inside))


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: shown(value) if type(value) is str else value,
    )  # fmt: skip
    filters: dict[str, Any] = {
        "fixed": fixed,
        "whole": lambda value: f"{value:,.0f}",
        "cell": lambda value: (
            f"{value:,}" if isinstance(value, int) else value if isinstance(value, str) else fixed(value)
        ),
        "parts": lambda names: learns([*map(str, names)]),
        "rates": _rates,
        "method": _method,
        "gap": gap_words,
        "broken": _broken,
    }
    made.filters |= filters
    return made


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def fixed(value: float | None) -> str:
    """With four decimals; – for a score that is missing or not finite."""
    return "–" if value is None or not isfinite(value) else f"{value:.4f}"


def _broken(name: str) -> Any:
    """A heading that may break after each / and dot, so that columns of numbers stay narrow."""
    from markupsafe import Markup, escape

    return Markup(escape(shown(name)).replace("/", Markup("/<wbr>")).replace(".", Markup(".<wbr>")))


def _rates(phase: Mapping[str, Any]) -> str:
    if phase.get("solved"):
        return "solved"
    rates = sorted(phase["learning_rates"].values())
    return "" if not rates else " … ".join(dict.fromkeys(number(rate) for rate in (rates[-1], rates[0])))


def _method(interval: Mapping[str, Any]) -> str:
    by = {"wilson": "Wilson", "bootstrap": "bootstrap", "task": "bootstrap"}.get(interval["by"], interval["by"])
    return f"{by}, {interval['units']:,} {interval['unit']}s" if "units" in interval else by
