"""Quote typed settings whose characters Hydra's grammar does not accept."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from frostline.config.keys import PLACES
from frostline.errors import ConfigError
from frostline.paths import at_home
from frostline.quoting import PLAIN, hydra_quoted, key_of

TEXTS = ("text", "answer")
AT_START = re.compile(r"^(['\"]?)~(/.*)$", re.DOTALL)
IN_LISTS = re.compile(r"(^|[\[{(,]\s*|:\s+)~(/[^][{}(),]*)")
DIRECTORY = ("--config-dir", "-cd")
STRUCTURE = "'\"[]{}"  # typed by users who know Hydra's grammar


def quoted_settings(arguments: Sequence[str], *, sweeps: bool = False) -> list[str]:
    """Quote values such as `data.dir=größe` and `data.dir=a (1)` for Hydra. A value that Hydra can parse, or that has
    quotes or brackets of its own, is unchanged unless it is a file or folder. `text=`, `answer=` are always quoted."""
    return [_quoted(argument, sweeps=sweeps) for argument in arguments]


def with_home(arguments: Sequence[str]) -> list[str]:
    """Replace `~` at the beginning of typed values by the user's home folder, which shells do for whole words only:
    `run=~/it`, and in lists of files and folders `data.dir=~/a,~/b`, `models=[~/a, ~/b]`. Deletions (`~key=value`) are
    unchanged. Raises ConfigError if the home folder is unknown."""
    return [
        _expanded(f"={argument}", argument)[1:] if before in DIRECTORY else _with_home(argument)
        for before, argument in pairwise(["", *arguments])
    ]


def _with_home(argument: str) -> str:
    key = key_of(argument)
    if argument.startswith("~") or key in TEXTS or key.endswith("_pattern"):
        return argument
    listed = key.rpartition(".")[2] in {*PLACES, "models", "runs"}
    return _expanded(argument, argument, IN_LISTS if listed and not set(argument) & set("'\"") else AT_START)


def _expanded(argument: str, typed: str, at: re.Pattern[str] = AT_START) -> str:
    key, equals, value = argument.partition("=")
    if not at.search(value):
        return argument
    try:
        home = str(at_home("~")).rstrip("/")
    except ConfigError as error:
        raise ConfigError(error.what, where=typed, next_step="use an absolute path; or set HOME") from error
    literal = PLAIN.fullmatch(home) is not None or not key or key.startswith("-")

    def whole(found: re.Match[str]) -> str:
        path = home + found[2]
        return found[1] + (path if literal else hydra_quoted(path))

    if not literal and value[:1] in ("'", '"'):
        return argument
    return f"{key}{equals}{at.sub(whole, value)}"


def _quoted(argument: str, *, sweeps: bool) -> str:
    key, equals, value = argument.partition("=")
    if argument.startswith("~"):
        return argument
    if key_of(argument) in TEXTS:
        return f"{key}={hydra_quoted(value)}"
    if argument.startswith("-") or not equals or PLAIN.fullmatch(value):
        return argument
    enclosed = len(value) > 1 and value[0] + value[-1] in ("''", '""', "[]", "{}")
    is_place = key.lstrip("+").rpartition(".")[2] in PLACES  # quotes and brackets belong to its name
    structured = enclosed or (not is_place and bool(set(value) & set(STRUCTURE)))
    is_expression = not is_place or "${" in value or sweeps
    if not _is_there(value) and (structured or (is_expression and _is_read(argument))):
        return argument
    if sweeps and "," in value and not _is_there(value):
        parts = (part if PLAIN.fullmatch(part) else hydra_quoted(part) for part in value.split(","))
        return f"{key}={','.join(parts)}"
    return f"{key}={hydra_quoted(value, literal=_is_there(value))}"


def _is_there(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long, or not a valid name
        return False


def _is_read(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True
