"""Take up a sweep again: its settings come from its folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from frostline.cli.sweep_place import Place
from frostline.errors import ConfigError, RunError, few
from frostline.quoting import hydra_quoted
from frostline.runs.opening import foreign_links
from frostline.runs.sweeps import FILE, Sweep

TAKES_UP = ("sweep.resume", "sweep.join")
LAUNCHER = "launcher"
OF_PROCESS = ("sweep.retry", "trust", LAUNCHER)  # what may differ each time
IN = "hydra.sweep.dir"


def taken_up(arguments: Sequence[str]) -> list[str] | None:
    """The whole command line of the sweep that `sweep.resume=` or `sweep.join=` names, from its folder; None without
    them. Changes into the folder in which the sweep was started. Raises ConfigError, RunError."""
    named = {key: value for argument in arguments for key, value in [_parted(argument)] if key in TAKES_UP}
    named = {key: value for key, value in named.items() if value != "null"}
    if not named:
        return None
    if len(named) > 1:
        raise ConfigError(
            "sweep.resume and sweep.join exclude each other", where="command line", next_step="leave one of them out"
        )
    ((key, value),) = named.items()
    Place.sweep = sweep = Sweep.read(Path(value).absolute())
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    own = [argument for argument in arguments if _parted(argument)[0].startswith(OF_PROCESS)]
    others = [it for it in arguments if it not in (*flags, *own, *sweep.arguments) and _parted(it)[0] not in TAKES_UP]
    if others:
        raise ConfigError(
            f"a sweep keeps its own settings, and it was not started with: {' '.join(others)}",
            where=sweep.folder / FILE,
            next_step=sweep.again(key),
        )
    _require_trust(sweep, key, arguments)
    if key == "sweep.join" and any(_parted(argument)[0] == "sweep.retry" for argument in own):
        raise ConfigError(
            "sweep.retry belongs to sweep.resume",
            where="command line",
            next_step=f"{sweep.again()} sweep.retry=true",
        )
    _enter(sweep)
    replaced = [name for name in OF_PROCESS if name != LAUNCHER or any(it.startswith(LAUNCHER) for it in own)]
    kept = [it for it in sweep.arguments if _parted(it)[0] != IN and not _parted(it)[0].startswith(tuple(replaced))]
    return [
        *kept,
        f"{IN}={hydra_quoted(_short(sweep.folder))}",
        f"{key}={hydra_quoted(str(sweep.folder))}",
        *(it for it in own if it != "trust=true"),
    ]


def _require_trust(sweep: Sweep, key: str, typed: Sequence[str]) -> None:
    """Raises RunError if the sweep's settings or links choose code or places to write to, and the user does not trust
    them."""
    Place.trusted = "trust=true" in typed
    require_trusted(sweep, [*sweep.foreign(), *foreign_links(sweep.folder)], key)


def require_trusted(sweep: Sweep, foreign: Sequence[str], key: str = "sweep.resume") -> None:
    """Raises RunError if something is foreign and the user does not trust the sweep."""
    if foreign and not Place.trusted:
        raise RunError(
            f"this sweep names code, or places to write to: {few(foreign, 10)}",
            where=sweep.folder / FILE,
            next_step=f"{sweep.again(key, trust=True)}  # if you trust them",
        )


def _parted(argument: str) -> tuple[str, str]:
    key, _, value = argument.partition("=")
    return key.lstrip("+"), value.strip("'\"")


def _enter(sweep: Sweep) -> None:
    try:
        os.chdir(sweep.cwd)
    except OSError as error:
        raise RunError(
            f"the sweep was started in a folder that this machine does not have: {error.strerror}",
            where=sweep.cwd,
            next_step="make the folder available there: paths of the sweep's settings refer to it",
        ) from error


def _short(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
