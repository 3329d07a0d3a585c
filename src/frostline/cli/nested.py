"""Options within options, typed like settings: `model.image=resnet50` for Hydra's `model@model.image=resnet50`."""

import re
from collections.abc import Sequence
from functools import cache

from frostline.paths import conf_dir

WITHIN = re.compile(r"^ +- /(\w+)@(\w+):", re.MULTILINE)  # in `defaults:` of an option


def with_nested(arguments: Sequence[str]) -> list[str]:
    """Rewrite the arguments that choose such an option. Values in braces are settings, and stay."""
    return [_rewritten(argument) for argument in arguments]


def _rewritten(argument: str) -> str:
    key, equals, value = argument.partition("=")
    return f"{nested()[key]}={value}" if equals and key in nested() and value[:1] != "{" else argument


@cache
def nested() -> dict[str, str]:
    """Hydra's name of each option within an option, by its place in the config."""
    found = {}
    for file in sorted(conf_dir().glob("*/*.yaml")):
        for group, name in WITHIN.findall(file.read_text(encoding="utf-8")):
            place = f"{file.parent.name}.{name}"
            found[place] = f"{group}@{place}"
    return found
