"""The space of a search, in Hydra's grammar of overrides."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from frostline.errors import ConfigError


@dataclass(frozen=True)
class Dimension:
    """One setting of a search. values: of a choice, quoted for Hydra. low, high: ends, both included. step: of a range;
    None without one."""

    key: str
    kind: Literal["choice", "float", "int"]
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @classmethod
    def stored(cls, content: Mapping[str, Any]) -> "Dimension":
        return cls(**{**content, "values": tuple(content["values"])})

    @property
    def content(self) -> dict[str, Any]:
        return {**asdict(self), "values": [*self.values]}

    def setting(self, value: Any) -> str:
        return f"{self.key}={value}"

    def corners(self) -> list[str]:
        """Settings that show whether the space can be composed."""
        return [self.setting(value) for value in (self.values if self.kind == "choice" else (self.low, self.high))]


def dimension_of(override: Override, choices: Callable[[Override], Sequence[str]]) -> Dimension:
    """choices: lists the `key=value` of a list, a choice or a glob. Raises ConfigError for an empty range, bounds the
    wrong way round, an unknown tag, or a log scale that does not begin above 0."""
    key, value, line = override.get_key_element(), override.value(), str(override.input_line)
    if others := sorted({*getattr(value, "tags", ())} - {"log"}):
        raise ConfigError(
            f"there is no tag '{others[0]}'; log draws on a log scale",
            where=line,
            next_step=f"'{key}=tag(log,interval(<low>,<high>))', or leave tag(...) out",
        )
    if isinstance(value, IntervalSweep):
        return _interval(key, value, line)
    if isinstance(value, RangeSweep) and "log" not in value.tags:
        return _range(key, value, line)
    if "log" in getattr(value, "tags", ()):
        raise ConfigError(
            "only an interval has a log scale", where=line, next_step=f"'{key}=tag(log,interval(<low>,<high>))'"
        )
    return Dimension(key, "choice", tuple(setting.partition("=")[2] for setting in choices(override)))


def require_space(space: Sequence[Dimension]) -> None:
    """Raises ConfigError if there is nothing to search, or if the space would make scores incomparable."""
    if not space:
        raise ConfigError(
            "there is nothing to search: no setting has several values",
            where="command line",
            next_step="'optimizer.lr=tag(log,interval(1e-4,1e-2))', for example; or head=linear,mlp",
        )
    for dimension in space:
        if dimension.key in ("task", "task.monitor", "task.mode", "data"):
            raise ConfigError(
                f"a search needs one score on the same samples, and {dimension.key} would change it",
                where=f"{dimension.key}={','.join(dimension.values)}",
                next_step=f"{dimension.key}=<one value>; or sweep=grid, which ranks such runs separately",
            )


def _interval(key: str, value: IntervalSweep, line: str) -> Dimension:
    low, high = value.start, value.end
    assert low is not None
    assert high is not None
    whole = isinstance(low, int) and isinstance(high, int)
    log = "log" in value.tags
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(
            "the bounds of an interval are finite numbers", where=line, next_step=f"'{key}=interval(<low>,<high>)'"
        )
    if not low < high:
        what = (
            "the bounds of this interval are equal"
            if low == high
            else "the bounds of this interval are the wrong way round"
        )
        raise ConfigError(what, where=line, next_step=f"'{key}=interval(<low>,<high>)', the lower first")
    if log and low <= 0:
        raise ConfigError(
            f"a log scale begins above 0, not at {low:g}",
            where=line,
            next_step=f"'{key}=tag(log,interval(<low above 0>,{high:g}))', or leave tag(log,...) out",
        )
    return Dimension(key, "int" if whole else "float", low=low, high=high, log=log)


def _range(key: str, value: RangeSweep, line: str) -> Dimension:
    """Both ends are included here; the end of a range is not."""
    start, stop, step = value.start, value.stop, value.step
    assert start is not None
    assert stop is not None
    number = 0 if step == 0 or (stop - start) / step <= 0 else len(range_of(start, stop, step))
    if number == 0 or step < 0:
        raise ConfigError(
            "this range has no values, or runs downwards", where=line, next_step=f"'{key}=range(<first>,<end>,<step>)'"
        )
    whole = all(isinstance(it, int) for it in (start, stop, step))
    last = start + step * (number - 1)
    if number == 1:
        return Dimension(key, "choice", (str(start),))
    return Dimension(key, "int" if whole else "float", low=start, high=last, step=step)


def range_of(start: float, stop: float, step: float) -> range:
    """Indices of the values of a range that excludes `stop`; a value within a millionth of a step of it is `stop`."""
    return range(max(0, int(-(-((stop - start) / step - 1e-6) // 1))))
