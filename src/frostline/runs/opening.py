"""Read a run's config as data: its folder may come from a stranger, and nothing in it may choose what code runs.

Frostline's own configs have a `_target_` at few keys, each with few allowed classes. Any other code that a config would
run, and any folder outside the run that it would write to, is listed and needs `trust=true`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.config.constructors import origin_of, parameters_of
from frostline.errors import RunError, first_line, shortened
from frostline.paths import leaves
from frostline.runs.renamed import renamed, with_planned_views

# Keys that may have a `_target_`, and the classes allowed there, by the module that defines them (full-match regexes).
CLASSES = {
    r"model(\.[^.]+)?": r"frostline\.backbones\.\w+\.\w+",
    r"head": r"frostline\.heads\.\w+\.\w+",
    r"adapter": r"frostline\.adapters\.\w+\.\w+",
    r"data": r"frostline\.data\.\w+\.\w+\.\w+",
    r"task": r"frostline\.tasks\.\w+\.\w+",
    r"cache": r"frostline\.frozen\.policy\.Reuse",
    r"(schedule\.(every_phase|phases\.[^.]+)\.)?optimizer": r"torch\.optim\.\w+\.\w+",
    r"trainer": r"lightning\.pytorch\.trainer\.trainer\.Trainer",
    r"trainer\.strategy": r"lightning\.pytorch\.strategies\.ddp\.DDPStrategy",
    r"trainer\.strategy\.timeout": r"datetime\.timedelta",
    r"logger": r"lightning\.pytorch\.loggers\.(tensorboard\.TensorBoardLogger|logger\.DummyLogger)"
    r"|frostline\.training\.callbacks\.curves\.Curves",
    r"callbacks\.[^.]+": r"(frostline\.training|lightning\.pytorch)\.callbacks\.\w+\.\w+",
}
INTERPOLATION = re.compile(r"(?<!\\)(\\\\)*\$\{")  # `${` behind an odd number of backslashes is text
UNSET = {"dirpath", "save_dir"}  # for null, Lightning writes to a folder of its own choice
DOWNLOADING = {"frostline.data.pictures.cifar.Cifar"}  # classes that download to a data.dir that does not exist
COMPILED = {"datetime.timedelta"}  # has no Python source in some versions of Python
WRITERS = ("callbacks", "logger", "trainer", "cache")  # groups that write to the paths in them
MADE = ("model", "head", "adapter", "data", "task", "optimizer", "cache", "trainer")  # each is built as one object
NEEDED = {"model", "data", "task", "run_dir"}
PLACES = {"dir", "dirpath", "save_dir", "root_dir", "log_dir", "default_root_dir"}
MOST_BYTES, MOST_DEPTH = 1_000_000, 40  # of a config.yaml; the shipped options compose to 6,000 bytes and a depth of 6


def read_settings(path: Path) -> dict[str, Any]:
    """Read a config.yaml of plain values. Raises RunError if it cannot be read, or has aliases, interpolations or
    objects."""
    try:
        if not path.is_file():  # reading a pipe would block
            raise ValueError("there is no such file")
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
        _require_simple(text)
        plain = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        assert isinstance(plain, dict), "_require_simple lets nothing else through"
        plain = with_planned_views(renamed(plain))
        _require_shape(plain)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise RunError(
            f"the run's configuration cannot be read: {first_line(error)}",
            where=path,
            next_step="restore the file, or start a new run",
        ) from error
    for place, value in leaves(plain):
        if not isinstance(value, bool | int | float | str | None):
            raise RunError(
                f"config.yaml contains an object, but a saved run has plain values: {place}: {shortened(str(value))}",
                where=path,
                next_step="write a plain value there, or start a new run",
            )
        if "${" in place or (isinstance(value, str) and INTERPOLATION.search(value)):
            raise RunError(
                f"config.yaml contains an interpolation, but a saved run has none: {place}: {shortened(str(value))}",
                where=path,
                next_step="write the value itself there, or start a new run",
            )
    return {str(key): value for key, value in plain.items()}


def _require_simple(text: str) -> None:
    """Raise ValueError for aliases, as a few lines of them can expand beyond memory, for nesting deeper than
    MOST_DEPTH, at which recursive readers would fail, and for text that is no mapping."""
    depth, root = 0, None
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {event.start_mark.line + 1} has an alias (*{event.anchor})")
        root = root or (event if isinstance(event, yaml.NodeEvent) else None)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"line {event.start_mark.line + 1} is nested more than {MOST_DEPTH} deep")
    if not isinstance(root, yaml.MappingStartEvent):
        raise ValueError("it is not a mapping of settings")


def _require_shape(plain: Mapping[Any, Any]) -> None:
    """Raise ValueError unless the needed groups exist, each has the expected type, and all keys are text."""
    if missing := NEEDED - plain.keys():
        raise ValueError(f"it lacks the keys {', '.join(sorted(missing))}")
    for group in MADE:
        if group in plain and not (isinstance(plain[group], dict) and "_target_" in plain[group]):
            raise ValueError(f"{group} has no `_target_`")
    for group in ("callbacks", "schedule", "logger"):
        if not isinstance(plain.get(group, {}), dict):
            raise ValueError(f"{group} is not a mapping")
    for key in _keys(plain):
        if not isinstance(key, str):
            raise ValueError(f"a key is of type {type(key).__name__}, but must be text: {key}")


def _keys(node: Any) -> Iterator[Any]:
    """Yield the keys of all nested mappings."""
    if isinstance(node, Mapping):
        yield from node
    if isinstance(node, Mapping | list):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _keys(value)


def foreign(settings: Mapping[str, Any], folder: Path) -> list[str]:
    """List what a run with these settings in `folder` would do beyond Frostline's own options, one line each."""
    return [*_foreign_code(settings, ""), *_foreign_places(settings, folder), *foreign_links(folder)]


def require_trusted(settings: Mapping[str, Any], folder: Path, *, trust: bool, again: str) -> None:
    """Raise RunError that lists everything that needs trust, unless `trust` is set. again: the command that sets it."""
    found = foreign(settings, folder)
    if found and not trust:
        raise RunError(
            "\n  ".join(["this run's config.yaml names code or output folders that are not Frostline's:", *found]),
            where=folder,
            next_step=f"{again}  # if you trust whoever made it",
        )


def _foreign_code(node: Any, place: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "_target_" in node and not _is_option(place, node["_target_"]):
            yield f"{place or 'the whole file'}: runs {node['_target_']}"
        for name, value in node.items():
            below = f"{place}.{name}" if place else str(name)
            if name == "_args_":
                yield f"{below}: {value}"  # Frostline passes arguments by name only
            if str(name).endswith("remote_code") and value:
                yield f"{below}: runs Python files that come with the weights of {node.get('name')}"
            yield from _foreign_code(value, below)
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from _foreign_code(item, f"{place}[{number}]")


def _is_option(place: str, target: Any) -> bool:
    if not isinstance(target, str):
        return False
    origin = target if target in COMPILED else origin_of(target) or ""
    return any(re.fullmatch(at, place) and re.fullmatch(classes, origin) for at, classes in CLASSES.items())


def _foreign_places(settings: Mapping[str, Any], folder: Path) -> Iterator[str]:
    for group in WRITERS:
        for place, value in leaves(settings.get(group), group):
            if not isinstance(value, str):
                continue
            names_place = place.rpartition(".")[2] in PLACES
            leads_away = value.startswith(("/", "~")) or ".." in Path(value).parts
            if "${" in value or "://" in value or ((names_place or leads_away) and not _is_within(value, folder)):
                yield f"{place}: writes to {value}"
    for group, node in [("logger", settings.get("logger")), *_callbacks(settings)]:
        takes = set(parameters_of(str(node.get("_target_")))) & UNSET if isinstance(node, Mapping) else set()
        yield from (f"{group}.{name}: null writes to the current folder" for name in takes if node.get(name) is None)
    trainer = settings.get("trainer")
    for name in ("profiler", "plugins"):
        if isinstance(trainer, Mapping) and trainer.get(name) is not None:
            yield f"trainer.{name}: may write to the current folder"
    data = settings.get("data")
    if isinstance(data, Mapping) and data.get("_target_") in DOWNLOADING and not Path(str(data.get("dir"))).is_dir():
        yield f"data.dir: downloads to {data.get('dir')}"


def _callbacks(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    callbacks = settings.get("callbacks")
    items = callbacks.items() if isinstance(callbacks, Mapping) else ()
    return [(f"callbacks.{name}", node) for name, node in items]


def foreign_links(folder: Path) -> Iterator[str]:
    """Yield links in a folder of runs through which files outside it would be written."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not _is_within(str(path), folder):
            yield f"{path.relative_to(folder)}: leads to {os.path.realpath(path)}"


def _is_within(place: str, folder: Path) -> bool:
    """Whether `place` lies in `folder` after links are resolved. A path that begins with ~ never does."""
    return place[:1] != "~" and Path(os.path.realpath(place)).is_relative_to(os.path.realpath(folder))
