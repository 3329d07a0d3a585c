"""Options within options, typed like settings: `model.image=resnet50` for Hydra's `model@model.image=resnet50`."""

import re
from collections.abc import Sequence
from functools import cache

from frostline.paths import conf_dir

WITHIN = re.compile(r"^ +- /(\w+)@(\w+):", re.MULTILINE)  # in `defaults:` of an option
NONE = "_none"  # the option that stands for null, which Hydra does not take, and for none, as in adapter=none


def with_nested(arguments: Sequence[str]) -> list[str]:
    """Rewrite the arguments that choose such an option. Values in braces are settings, and stay."""
    return [_rewritten(argument) for argument in arguments]


def _rewritten(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key not in nested() or value[:1] == "{":
        return argument
    return f"{nested()[key]}={','.join(NONE if name in ('null', 'none') else name for name in value.split(','))}"


@cache
def nested() -> dict[str, str]:
    """Hydra's name of each option within an option, by its place in the config."""
    return {place: name for place, (name, _) in _found().items()}


def place_of(arguments: Sequence[str], group: str, option: str) -> str:
    """The key for which an option was typed: that of an option within an option, or else the group. arguments: as
    `with_nested` returns them."""
    places = {name: place for place, name in nested().items() if name.startswith(f"{group}@")}
    typed = (argument.partition("=") for argument in arguments)
    return next((places[key] for key, _, value in typed if key in places and option in value.split(",")), group)


def options_with(place: str) -> list[str]:
    """The options that have an option within at this place."""
    return _found()[place][1] if place in _found() else []


@cache
def _found() -> dict[str, tuple[str, list[str]]]:
    found: dict[str, tuple[str, list[str]]] = {}
    for file in sorted(conf_dir().glob("*/*.yaml")):
        for group, name in WITHIN.findall(file.read_text(encoding="utf-8")):
            place = f"{file.parent.name}.{name}"
            found.setdefault(place, (f"{group}@{place}", []))[1].append(f"{file.parent.name}={file.stem}")
    return found
