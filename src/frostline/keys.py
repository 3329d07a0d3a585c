"""Settings by name: which a command knows, and which is meant by one that it does not know."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from frostline.errors import close_names
from frostline.paths import conf_dir


def unknown_keys(plain: Mapping[str, Any], command: str, own: Collection[str] = ()) -> Iterator[str]:
    """A line for each setting that no part of the program reads. Those of constructors are not looked at: `signatures`
    does. own: groups that were added by the program."""
    known = known_keys(command) | set(own)
    for key in plain:
        if key not in known:
            yield f"{key}: there is no such setting; {meant(key, plain, known)}"
    schedule = plain.get("schedule")
    own = _keys(OmegaConf.load(conf_dir() / "schedule" / "_every_phase.yaml")) | {"phases"}
    for key in schedule if isinstance(schedule, Mapping) else ():
        if key not in own:
            yield f"schedule.{key}: there is no such setting; {meant(f'schedule.{key}', plain, own)}"
    asked = plain.get("lr_find")
    for key in asked if isinstance(asked, Mapping) else ():
        if key not in (own := _keys(OmegaConf.load(conf_dir() / "lr_find.yaml").lr_find)):
            yield f"lr_find.{key}: there is no such setting; {meant(f'lr_find.{key}', plain, own)}"


def known_keys(command: str) -> set[str]:
    """Of the whole configuration of a command: what its YAML has, and its questions."""
    node = OmegaConf.load(conf_dir() / f"{command}.yaml")
    assert isinstance(node, DictConfig)
    known = _keys(node) - {"defaults", "hydra"}
    defaults = node.get("defaults")
    for entry in defaults if isinstance(defaults, ListConfig) else ():
        if isinstance(entry, DictConfig):
            known |= {name for name in _keys(entry) if not name.startswith("override ")}
        elif entry != "_self_":
            known |= known_keys(str(entry))
    return known


def meant(key: str, plain: Mapping[str, Any], known: set[str]) -> str:
    """What may be said instead of a setting that there is not: settings of that name elsewhere, or close ones."""
    name = key.rpartition(".")[2]
    elsewhere = [place for place in _places(plain, "") if place.rpartition(".")[2] == name and place != key]
    if elsewhere:
        return f"did you mean {', '.join(elsewhere[:3])}?"
    return close_names(name, known)


def _keys(node: Any) -> set[str]:
    return {str(key) for key in node}


def _places(node: Any, prefix: str) -> Iterator[str]:
    """Of all values, by dotted name."""
    for key, value in node.items():
        place = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _places(value, f"{place}.")
        else:
            yield place
