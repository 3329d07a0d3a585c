"""Take up a sweep again: its settings come from its folder."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.cli.sweep_arguments import FLAGS, TAKES_UP, taking_up
from frostline.cli.sweep_session import WRITTEN_FIRST, Session
from frostline.errors import ConfigError, RunError, few
from frostline.quoting import hydra_quoted, key_of
from frostline.runs.folder import changed_settings
from frostline.runs.opening import foreign_links
from frostline.runs.renamed import renamed
from frostline.runs.sweeps import FILE, Sweep

LAUNCHER = "launcher"
OF_PROCESS = ("sweep.retry", "trust", LAUNCHER)  # what may differ each time
TRIALS = "sweep.trials"  # a search may go on for longer than it was meant to
IN = "hydra.sweep.dir"


def taken_up(arguments: Sequence[str]) -> list[str] | None:
    """The whole command line of the sweep that `sweep.resume=` or `sweep.join=` names, from its folder; None without
    them. Changes into the folder in which the sweep was started. Raises ConfigError, RunError."""
    if not (named := taking_up(arguments)):
        return None
    if len(named) > 1:
        raise ConfigError(
            "sweep.resume and sweep.join exclude each other", where="command line", next_step="leave one of them out"
        )
    ((key, value),) = named.items()
    if "://" in value:
        raise _no_database(key, value)
    Session.sweep = sweep = Sweep.read(Path(value).absolute())
    flags = [argument for argument in arguments if argument in FLAGS]
    free = (*OF_PROCESS, TRIALS) if sweep.search else OF_PROCESS
    own = [argument for argument in arguments if key_of(argument).startswith(free)]
    others = [it for it in arguments if it not in (*flags, *own, *sweep.arguments) and key_of(it) not in TAKES_UP]
    if others:
        raise ConfigError(
            f"a sweep keeps its own settings, and it was not started with: {' '.join(others)}",
            where=sweep.folder / FILE,
            next_step=sweep.again(key),
        )
    _require_trust(sweep, key, arguments)
    alone = [it for it in own if key_of(it) in ("sweep.retry", TRIALS)]
    if key == "sweep.join" and alone:
        raise ConfigError(
            f"{key_of(alone[0])} belongs to sweep.resume",
            where="command line",
            next_step=f"{sweep.again()}  # with {alone[0]}",
        )
    _enter(sweep)
    replaced = [name for name in free if name not in (LAUNCHER, TRIALS) or any(it.startswith(name) for it in own)]
    kept = [it for it in sweep.arguments if key_of(it) != IN and not key_of(it).startswith(tuple(replaced))]
    return [
        *kept,
        f"{IN}={hydra_quoted(_short(sweep.folder))}",
        f"{key}={hydra_quoted(str(sweep.folder))}",
        *(it for it in own if it != "trust=true"),
    ]


def _no_database(key: str, url: str) -> ConfigError:
    return ConfigError(
        f"{key} takes the folder of a sweep, and this is the URL of a database, which holds only the study of a search",
        where=f"{key}={url}",
        next_step=f"frostline train {key}=<sweep folder>  # which names its database; "
        "or frostline train -m sweep=tpe sweep.storage=<URL> <settings>  # a new sweep",
    )


def require_same_config(config: DictConfig, sweep: Sweep) -> None:
    """Raise RunError that names settings which have changed since the sweep began, as YAML files were edited. Settings
    that a single run may change, and those that only one of two versions of Frostline has, do not count.

    config: of the sweep, without what it varies.
    """
    try:
        begun = OmegaConf.to_container(OmegaConf.load(sweep.folder / WRITTEN_FIRST))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException):
        return  # removed or damaged: there is nothing to compare
    now = OmegaConf.to_container(config)
    changed = changed_settings(renamed(begun), now) if isinstance(begun, dict) and isinstance(now, dict) else []
    if changed:
        raise RunError(
            f"the configuration has changed since this sweep began: {few(changed, 10)}",
            where=sweep.folder,
            next_step="restore the YAML files, or the version of Frostline that began it, and run this command again; "
            "or start a new sweep",
        )


def _require_trust(sweep: Sweep, key: str, typed: Sequence[str]) -> None:
    """Raises RunError if the sweep's settings or links choose code or places to write to, and the user does not trust
    them."""
    Session.trusted = "trust=true" in typed
    require_trusted(sweep, [*sweep.foreign(), *foreign_links(sweep.folder)], key)


def require_trusted(sweep: Sweep, foreign: Sequence[str], key: str = "sweep.resume") -> None:
    """Raises RunError if something is foreign and the user does not trust the sweep."""
    if foreign and not Session.trusted:
        raise RunError(
            f"this sweep names code, or places to write to: {few(foreign, 10)}",
            where=sweep.folder / FILE,
            next_step=f"{sweep.again(key, trust=True)}  # if you trust them",
        )


def _enter(sweep: Sweep) -> None:
    """Change into the folder in which the sweep was started, if it is there."""
    try:
        os.chdir(sweep.cwd)
    except OSError:
        print(
            f"frostline: the sweep was started in {sweep.cwd}, which is not there: relative paths of its settings "
            f"refer to {Path.cwd()}",
            file=sys.stderr,
        )


def _short(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
