"""Translate errors of Hydra and OmegaConf into ConfigError, with close names and the next step."""

import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from frostline.cli.nested import options_with, place_of
from frostline.commands.checks import SUPPLIED
from frostline.config.constructors import constant_of, parameters_of
from frostline.config.keys import meant
from frostline.errors import ConfigError, close_names, first_line
from frostline.paths import conf_dir

AMBIGUOUS = re.compile(r"Ambiguous value for argument '([^=]+)=(.*)'")
WITHIN = re.compile(r"Could not override '\w+@([\w.]+)'")
OF_PHASE = re.compile(r"(schedule\.phases\.[^.=]+)\.([\w.]+)=(.*)")
TYPED = re.compile(r"To append to your config use \+(.*)")
PLAIN = re.compile(r"[\w.-]+")  # values that a shell and Hydra read as they are typed
NO_FOLDER = re.compile(r"Additional config directory '(.+)' not found")
UNASKED = re.compile(r"Could not override '(.+)'\. No match in the defaults list")
# A `+` before an existing key. The third is Hydra's failure to read a value that refers to the run's folder.
TAKEN = re.compile(r"already at '(.+)'|Multiple values for (\S+)\.|merging override \+([^=]+)=")


def translated(error: Exception, command: str) -> ConfigError:
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_option(error)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    parent, key = getattr(cause, "parent_node", None), str(getattr(cause, "key", ""))
    if taken := TAKEN.search(str(error)):
        return _taken("".join(filter(None, taken.groups())))
    if several := AMBIGUOUS.search(str(error)):
        return _several(several[1], several[2], command)
    if (inner := WITHIN.search(str(error))) and (options := options_with(inner[1])):
        return ConfigError(
            f"this {inner[1].partition('.')[0]} has no '{inner[1]}'",
            where="command line",
            next_step=f"it belongs to {', '.join(options)}: add that too",
        )
    if unasked := UNASKED.search(str(error)):
        return _not_for_rank(unasked[1]) if command == "rank" else _of_the_run(unasked[1], command)
    unknown = not isinstance(cause, InterpolationResolutionError)  # that has no value before the run has a folder
    if isinstance(parent, DictConfig) and unknown and key and key not in parent:
        full = str(getattr(cause, "full_key", key) or key)
        if (typed := TYPED.search(str(error))) and (own := _of_phase(typed[1], parent._get_root())):
            return own
        return _unknown_setting(full, key, parent, composes=command in ("train", "lr_find", "rank"))
    if isinstance(error, OverrideParseException):
        return ConfigError(
            first_line(error),
            where="command line",
            next_step="key=value; quote what holds spaces or brackets: 'head.hidden=[64, 32]'",
        )
    if missing := NO_FOLDER.search(str(error)):
        return ConfigError(
            "there is no such folder of options",
            where=missing[1],
            next_step="--config-dir=<a folder with your options>",
        )
    if "Config group override must be" in str(error):
        return ConfigError(
            "a config group takes the name of an option, not null",
            where="command line, or `defaults:` in YAML",
            next_step=f"frostline {command} --help lists the options, such as data=digits or logger=none",
        )
    return ConfigError(
        first_line(error),
        where="command line",
        next_step=f"frostline {command} --help lists options and settings; <group>=none leaves a group out",
    )


def _unknown_setting(full: str, key: str, parent: DictConfig, *, composes: bool) -> ConfigError:
    """parent: the node that has no such key. composes: whether the command has config groups."""
    what = f"there is no setting '{full}'"
    target = OmegaConf.select(parent, "_target_")
    if key in SUPPLIED.get(full.rpartition(".")[0], ()):
        return ConfigError(f"{full} is set by Frostline", where="command line", next_step="leave it out")
    if isinstance(target, str) and key in parameters_of(target):
        return ConfigError(f"{what} yet", where="command line", next_step=f"+{full}=<value>  # adds it")
    if not composes and "." in full:
        there = ", ".join(f"{full.rpartition('.')[0]}.{name}=" for name in sorted(map(str, parent)))
        return ConfigError(what, where="command line", next_step=f"one of {there}")
    options = _options_with(full, parent._get_root())
    if options:
        next_step = f"it belongs to {', '.join(options)}: add that too"
        return ConfigError(f"{what}: {close_names(key, map(str, parent))}", where="command line", next_step=next_step)
    root = OmegaConf.to_container(parent._get_root(), resolve=False)
    assert isinstance(root, dict)
    places = {str(name): value for name, value in root.items()}
    return ConfigError(
        f"{what}: {meant(full, places, {str(name) for name in parent})}",
        where="command line",
        next_step="correct it; `--cfg job` prints all settings",
    )


def _of_phase(typed: str, root: Any) -> ConfigError | None:
    """What to type for a setting that a phase takes from schedule.every_phase; None if it is no such setting, or there
    is no such phase. typed: with its value. root: the composed config."""
    shared = OmegaConf.select(root, "schedule.every_phase")
    if (found := OF_PHASE.fullmatch(typed)) is None or not isinstance(shared, DictConfig):
        return None
    phase, key, value = found.groups()
    name, _, within = key.partition(".")
    if name not in shared or OmegaConf.select(root, phase) is None:
        return None
    if name == "optimizer":
        chosen = value if PLAIN.fullmatch(value) and not within else "sgd"
        also = f" {phase}.{key}={value}" if within and PLAIN.fullmatch(value) else ""
        return ConfigError(
            "a phase's own optimizer is an option of the question optimizer",
            where="command line",
            next_step=f"+optimizer@{phase}.optimizer={chosen}{also}",
        )
    inner = shared._get_node(name)
    if isinstance(inner, DictConfig) and within not in inner:
        named = [f"{name}.{one}" for one in map(str, inner)]
        return ConfigError(
            f"there is no setting '{phase}.{key}': {close_names(key, named)}"
            if within
            else f"{phase}.{key} is a mapping of settings",
            where="command line",
            next_step=f"+{phase}.<one of {', '.join(named)}>=<value>",
        )
    if within and not isinstance(inner, DictConfig):
        return None
    value = value if PLAIN.fullmatch(value) else "<value>"
    return ConfigError(
        f"this phase takes '{key}' from schedule.every_phase",
        where="command line",
        next_step=f"+{phase}.{key}={value}  # for this phase alone; or schedule.every_phase.{key}={value}",
    )


def _taken(added: str) -> ConfigError:
    return ConfigError(
        f"'{added}' exists already; + adds keys that do not exist",
        where="command line",
        next_step=f"{added}=<value>, without the +",
    )


def _several(name: str, values: str, command: str) -> ConfigError:
    is_question = (conf_dir() / name).is_dir()
    one = f"{name}=<one of them>" if is_question else f"write a list in brackets: {name}=[{values}]"
    runs = f"; or frostline train -m {name}={values}  # one run per value" if command == "train" else ""
    return ConfigError(f"'{name}' has several values, {values}", where="command line", next_step=f"{one}{runs}")


def _of_the_run(name: str, command: str) -> ConfigError:
    node = OmegaConf.select(OmegaConf.load(conf_dir() / f"{command}.yaml"), name)
    own = [f"{name}.{key!s}=" for key in node] if isinstance(node, DictConfig) else []
    return ConfigError(
        f"{command} uses the {name} of the run and does not accept {name}=",
        where="command line",
        next_step=f"leave {name}= out{'; available: ' + ', '.join(own) if own else ''}",
    )


def _not_for_rank(name: str) -> ConfigError:
    return ConfigError(
        f"rank compares models by classes before any training and does not accept {name}=",
        where="command line",
        next_step=f"leave {name}= out, for data with one class for each sample; rank takes models=[...], data=, cache= "
        "and trainer=",
    )


def _options_with(key: str, root: Any) -> list[str]:
    """Options of the key's config group that have the setting: `head=mlp` for `head.hidden`. Heads must fit the task.
    root: the composed config."""
    group, _, name = key.partition(".")
    files = sorted((conf_dir() / group).glob("[!_]*.yaml")) if name else []
    files = [file for file in files if f"\n{name}:" in "\n" + file.read_text(encoding="utf-8")]
    unit = constant_of(str(OmegaConf.select(root, "task._target_")), "unit") if group == "head" else None
    return [f"{group}={file.stem}" for file in files if unit is None or unit in _units_of(file)]


def _units_of(head: Path) -> Collection[str]:
    """What the outputs of a head, by its YAML, may belong to."""
    target = OmegaConf.select(OmegaConf.load(head), "_target_")
    return constant_of(str(target), "takes") or ("sample", "token")


def _unknown_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = [name for name in error.options or [] if not name.startswith("_")]
    typed = place_of(sys.argv[1:], group, option)
    return ConfigError(
        f"there is no {group} '{option}': {close_names(option, options)}",
        where=f"{typed}={option}",
        next_step=f"{typed}=<one of {', '.join(options)}>" + ("" if typed == group else f"; or {typed}=none"),
    )
