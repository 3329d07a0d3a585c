"""List the jobs of a sweep, and refuse settings that cannot be swept."""

import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, RangeSweep, Sweep, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.errors import ConfigError, few
from frostline.quoting import PLAIN, hydra_quoted

FEW = 20  # values in a proposed command
MOST = 100_000  # jobs; to compose each takes about 0.01 s
FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(")  # of Hydra's grammar for sweeps
FUNCTIONS = "'seed=range(0,3)' is seed=0,1,2; 'model=glob(resnet*)' is every model whose name begins with resnet"


def require_lists(arguments: Sequence[str]) -> None:
    """Raises ConfigError for a sweep that Hydra cannot parse. arguments: as typed."""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument.startswith("-") or not equals:
            continue
        override = _parsed(argument)
        if override is not None and override.is_sweep_override() and override.is_hydra_override():
            raise ConfigError(
                f"{key} applies to the whole sweep and takes one value", where=argument, next_step=f"{key}=<value>"
            )
        if override is not None or set(value) & set("'\"[]{}") or os.path.lexists(value):
            continue
        parts = [part.strip() for part in value.split(",")]
        if "" in parts and len(parts) > 1:
            listed = ",".join(part if PLAIN.fullmatch(part) else hydra_quoted(part) for part in parts if part)
            raise ConfigError(
                f"a value is missing in the list of {key}",
                where=argument,
                next_step=shlex.quote(f"{key}={listed}") if listed else f"{key}=<value>,<value>",
            )
        if FUNCTION.match(value):
            raise ConfigError("this is not a valid list of sweep values", where=argument, next_step=FUNCTIONS)


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def for_one_run() -> ConfigError:
    return ConfigError(
        "run_dir names the folder of one run, but each job of a sweep gets its own folder inside the sweep's",
        where="run_dir",
        next_step="leave it out; hydra.sweep.dir=<folder> sets the sweep's folder; or start one run, without -m",
    )


def require_once(typed: Sequence[Override]) -> None:
    """Raises ConfigError if a swept setting is given twice: Hydra silently takes the last one."""
    names = [f"{override.key_or_group}@{override.package or ''}".rstrip("@") for override in typed]
    swept = {name for name, override in zip(names, typed, strict=True) if override.is_sweep_override()}
    for name, times in Counter(names).items():
        if times > 1 and name in swept:
            raise ConfigError(
                f"{name} is given {times} times", where="command line", next_step=f"{name}=<value>,<value> once"
            )


def require_validation(config: DictConfig) -> None:
    """Raises ConfigError if the sweep would choose by a test score. config: of a job."""
    try:
        monitor = str(OmegaConf.select(config, "task.monitor"))
    except OmegaConfBaseException:  # the job will be refused
        return
    if monitor.startswith("test/"):
        raise ConfigError(
            "a sweep cannot choose by a test score: the best of many would look better than it is",
            where=f"task.monitor={monitor}",
            next_step="name a score of validation, such as val/loss; the best setting is tested at the end",
        )


def jobs_of(overrides: Sequence[Override]) -> list[list[str]]:
    """Every combination of the listed values; a setting given twice takes its last ones. Raises ConfigError if a sweep
    cannot be listed, or if it has no jobs or too many."""
    listed = {override.get_key_element(): settings_listed(override) for override in overrides}
    number = math.prod(map(len, listed.values()))
    if number > MOST:
        raise ConfigError(
            f"this sweep has more than {MOST:,} jobs: {number:,}",
            where="command line",
            next_step="fewer values, or several sweeps",
        )
    return [list(job) for job in product(*listed.values())]


def settings_listed(override: Override) -> list[str]:
    """`key=value` for each value. Raises ConfigError if the setting cannot be swept so."""
    key, value, line = override.get_key_element(), override.value(), str(override.input_line)
    if not override.is_sweep_override():
        return [line]
    if override.key_or_group == "run_dir":
        raise for_one_run()
    if override.key_or_group == "logs_dir":
        raise ConfigError(
            "logs_dir cannot be swept: all jobs of a sweep lie in one folder", where=line, next_step="logs_dir=<folder>"
        )
    if override.is_interval_sweep():
        raise ConfigError(
            "a sweep needs single values, and an interval has none",
            where=line,
            next_step=f"{key}=<value>,<value>; or '{key}=range(<first>,<end>,<step>)'; or sweep=tpe  # draws from it",
        )
    if isinstance(value, ChoiceSweep) and any(isinstance(item, Sweep | Glob) for item in value.list):
        raise ConfigError("a value in this list is itself a sweep", where=line, next_step=_flat(override, value))
    if isinstance(value, RangeSweep):
        _require_end(override, value)
    values = [*override.sweep_string_iterator()]
    if not values:
        names: list[str] = [name for name in _options(override) if name[:1] != "_"] if isinstance(value, Glob) else []
        raise ConfigError(
            "this sweep has no jobs: the list of values is empty",
            where=line,
            next_step=f"{key}=<{'some of ' + few(names) if names else 'value'}>; {FUNCTIONS}",
        )
    return [f"{key}={value}" for value in values]


def _require_end(override: Override, value: RangeSweep) -> None:
    assert value.start is not None
    assert value.stop is not None
    if value.step == 0 or not abs(value.stop - value.start) <= MOST * abs(value.step):
        raise ConfigError(
            f"this range has more than {MOST:,} values, or no end", where=override.input_line, next_step=FUNCTIONS
        )


def _flat(override: Override, value: ChoiceSweep) -> str:
    """Propose the values of nested sweeps as one list; a placeholder if there are too many, or an interval."""
    items = [*_items(override, value)]
    if len(items) > FEW or any(isinstance(item, Sweep) for item in items):
        return f"{override.get_key_element()}=<value>,<value>"
    listed = replace(override, value_type=ValueType.CHOICE_SWEEP, _value=ChoiceSweep(list=items))
    return shlex.quote(f"{override.get_key_element()}={','.join(listed.sweep_string_iterator())}")


def _items(override: Override, item: Any) -> Iterator[Any]:
    if isinstance(item, ChoiceSweep):
        for within_it in item.list:
            yield from _items(override, within_it)
    elif isinstance(item, RangeSweep):
        _require_end(override, item)
        yield from item.range()
    elif isinstance(item, Glob):
        yield from item.filter(_options(override))
    else:
        yield item


def _options(override: Override) -> list[str]:
    loader = override.config_loader
    return [] if loader is None else loader.get_group_options(override.key_or_group, ObjectType.CONFIG)
