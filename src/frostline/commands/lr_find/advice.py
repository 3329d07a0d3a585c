"""Turn the curves of a range test into settings for the next training."""

from collections.abc import Mapping, Sequence
from typing import Any

from frostline.commands.lr_find.range_test import RateCurve, two_digits
from frostline.plan.phase import Phase
from frostline.quoting import key_of

APART = 2.0  # factor between two rates, below which a range test cannot tell them apart from noise


def advised(curves: Sequence[RateCurve], phases: Sequence[Phase], base_rate: float | None) -> dict[str, float]:
    """Suggest settings by key: the base rate of the first phase with a suggestion, and an `lr_scale` for each phase
    that suggests another base rate. A tested phase without a suggestion keeps its rate. phases: as in the config, where
    `thaw: each` is one phase. base_rate: `optimizer.lr` of the config, if it has one.
    """
    settings: dict[str, float] = {}
    tested = [(phase, [curve.suggestion for curve in _of(phase, phases, curves)]) for phase in phases]
    told = [(phase, [rate for rate in rates if rate is not None]) for phase, rates in tested if rates]
    if not any(rates for _, rates in told):
        return settings
    for phase, rates in sorted(told, key=lambda it: not it[1]):  # the base rate first
        rate = min(rates, default=base_rate if phase.optimizer is None else None)
        if rate is None:
            continue
        if phase.optimizer is not None:
            settings[f"schedule.phases.{phase.name}.optimizer.lr"] = rate
            continue
        base = settings.setdefault("optimizer.lr", rate)
        if not base / APART <= rate <= base * APART:
            settings[f"schedule.phases.{phase.name}.lr_scale"] = two_digits(_scale(phase) * rate / base)
    return settings


def _scale(phase: Phase) -> float:
    if isinstance(phase.lr_scale, str):
        raise RuntimeError(f"phase '{phase.name}' is not scaled yet")
    return phase.lr_scale


def overrides_with(settings: Mapping[str, float], typed: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Replace or add `settings` in the overrides `typed`, without those of lr_find. config: what `typed` composes."""
    kept, prefixes = [], {key: "" if _stands(config, key) else "+" for key in settings}
    for override in typed:
        key = key_of(override)
        if key in settings:
            prefixes[key] = override[: override.index(key)]
        elif key.partition(".")[0] != "lr_find":
            kept.append(override)
    return [*kept, *(f"{prefixes[key]}{key}={value:g}" for key, value in settings.items())]


def _of(phase: Phase, phases: Sequence[Phase], curves: Sequence[RateCurve]) -> list[RateCurve]:
    """Find the curves of a phase; a phase with `thaw: each` has one per block, named after it."""
    names = {other.name for other in phases}
    unfolded = f"{phase.name}-" if phase.thaw == "each" else None
    return [
        curve
        for curve in curves
        if curve.phase == phase.name
        or (unfolded is not None and curve.phase.startswith(unfolded) and curve.phase not in names)
    ]


def _stands(config: Mapping[str, Any], key: str) -> bool:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True
