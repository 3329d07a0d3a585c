"""Find target types by their kind, in all modules of this folder."""

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, close_names

OTHER_KIND = "task, data"  # where the error of `require_kind` lies
RANKED = {"by": "str", "scores": "list[str]", "relevant": "float"}


@cache
def target_types() -> dict[str, TargetType]:
    """All types by kind, in alphabetical order of their modules."""
    found: dict[str, TargetType] = {}
    package = __name__.rpartition(".")[0]
    for module in sorted(it.name for it in pkgutil.iter_modules([str(Path(__file__).parent)])):
        for value in vars(import_module(f"{package}.{module}")).values():
            if isinstance(value, type) and issubclass(value, TargetType) and "kind" in vars(value):
                found[value.kind] = value()
    return found


def target_type(kind: str) -> TargetType:
    """The type of that kind. Raises ConfigError with close names if there is none."""
    found = target_types()
    if kind not in found:
        raise ConfigError(
            f"there is no target type '{kind}': {close_names(kind, found)}",
            where="task",
            next_step=f"choose a task that learns one of {', '.join(found)}",
        )
    return found[kind]


def about_schema(kind: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Annotations, by name, of the entries that `Targets.about` must have for this kind, and of those of `ranked`, if
    it has them."""
    return target_type(kind).about | ({"ranked": RANKED} if "ranked" in about else {})


def kinds_in_columns(samples: str = "") -> tuple[str, ...]:
    """The kinds that columns of a table give for these samples. samples: their plural; "" for any."""
    found = {kind: it for kind, it in target_types().items() if it.reads_columns}
    return tuple(kind for kind, it in found.items() if it.only_of in (None, samples))


def probed(kinds: Sequence[str]) -> TargetType:
    """The first type of these kinds that gives rows for probes; classes if none does, which `require_kind` refuses."""
    return next((it for it in map(target_type, kinds) if it.rows_from), target_type("class"))


def require_kind(wanted: str, kinds: Sequence[str]) -> None:
    """Raises ConfigError, whose `where` is OTHER_KIND, if the task learns a kind that the data does not have. kinds:
    those of the data; a type that derives from one of them is read in the same way."""
    if not any(issubclass(type(target_type(wanted)), type(target_type(kind))) for kind in kinds):
        tasks = " or ".join(f"task={target_type(kind).task}" for kind in kinds)
        learned, there = target_type(wanted).described_as, target_type(kinds[0]).described_as
        raise ConfigError(
            f"this task learns from {learned}, but this data has {there}",
            where=OTHER_KIND,
            next_step=f"{tasks}; or data with targets for this task: {target_type(wanted).data}",
        )
