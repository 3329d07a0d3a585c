"""The settings of a sweep itself, beside those of its jobs."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from frostline.config.plain import resolved
from frostline.config.signatures import problems
from frostline.errors import ConfigError
from frostline.quoting import key_of
from frostline.sweeps import settings as kinds
from frostline.sweeps.losing import seeds_needed
from frostline.sweeps.settings import Alone, Grid, Local, Slurm
from frostline.sweeps.workers import default_workers

KINDS: dict[str, Any] = {"sweep": Grid, "launcher": Alone | Local | Slurm}
GROUPS = tuple(KINDS)


def is_of_sweep(key: str) -> bool:
    """Whether a setting is the sweep's, and not one of its jobs'."""
    return key.partition(".")[0] in GROUPS


def settings_of(config: DictConfig) -> Grid:
    """config: the config of the sweep, with what was typed. Raises ConfigError."""
    made = _made(config, "sweep")
    assert isinstance(made, Grid)
    return made


def launcher_of(config: DictConfig) -> Slurm | Local | None:
    """What runs the jobs; None for this process alone. Raises ConfigError."""
    made = _made(config, "launcher")
    return None if isinstance(made, Alone) else made


def workers_of(launcher: Slurm | Local) -> int:
    return launcher.workers or default_workers()


def _made(config: DictConfig, group: str) -> Any:
    found = config.get(group)
    node = resolved(found) if isinstance(found, DictConfig) else None
    target = str(node.get("_target_")) if isinstance(node, dict) else ""
    module, _, name = target.rpartition(".")
    kind: Any = getattr(kinds, name, None) if module == kinds.__name__ else None
    if not isinstance(node, dict) or not (isinstance(kind, type) and issubclass(kind, KINDS[group])):
        raise ConfigError(
            f"'{target}' is no {group}", where=group, next_step=f"{group}=<one of the options of conf/{group}>"
        )
    if wrong := [*problems({group: node}, supplied={})]:
        raise ConfigError(
            "\n  ".join(["the sweep has a wrong value:", *wrong]),
            where="command line, or YAML under conf/",
            next_step=f"correct it; `frostline train --cfg job` prints the settings of {group}",
        )
    return kind(**{key: value for key, value in node.items() if key != "_target_"})


def require_sweep(arguments: Sequence[str], *, sweeps: bool, resumes: bool) -> None:
    """Raises ConfigError if settings of a sweep are typed without -m, or those of a resume for a new sweep, or a
    launcher of Hydra's."""
    for argument in arguments:
        key, value = key_of(argument), argument.partition("=")[2]
        if value not in ("", "basic") and (key == "hydra/launcher" or argument == "launcher=joblib"):
            raise refused_launcher(argument)
    own = [argument for argument in arguments if is_of_sweep(key_of(argument))]
    if own and not sweeps:
        raise ConfigError(
            f"{key_of(own[0])} is a setting of a sweep",
            where=own[0],
            next_step="add -m, which starts a sweep",
        )
    retry = [argument for argument in own if key_of(argument) == "sweep.retry"]
    if retry and not resumes:
        raise ConfigError(
            "sweep.retry runs the failed jobs of an earlier sweep again",
            where=retry[0],
            next_step="frostline train sweep.resume=<sweep folder> sweep.retry=true",
        )


def refused_launcher(typed: str) -> ConfigError:
    """Return the error for a launcher that is a plugin of Hydra's. typed: the argument that names it."""
    return ConfigError(
        "a launcher of Hydra's runs jobs in processes that record nothing in the sweep: it could not be resumed",
        where=typed,
        next_step="launcher=local, which runs several jobs at a time; or launcher=slurm",
    )


def require_droppable(settings: Grid, number: int, seeds: int) -> None:
    """Raises ConfigError if sweep.drop could not drop any setting. number: settings of the sweep. seeds: of each."""
    if not settings.drop:
        return
    needed = seeds_needed(number)
    if needed is None:
        raise ConfigError(
            "sweep.drop compares settings, and this sweep has one",
            where="sweep.drop=true",
            next_step="leave sweep.drop out",
        )
    if seeds < needed:
        raise ConfigError(
            f"sweep.drop can drop one of {number} settings from {needed} seeds on, and each runs with {seeds}",
            where="sweep.drop=true",
            next_step=f"sweep.seeds={needed}, or more; or leave sweep.drop out",
        )


def with_seeds(overrides: Sequence[str], seeds: int | None) -> list[str]:
    """Add the seeds of `sweep.seeds`. Raises ConfigError if seeds are typed as well."""
    if seeds is None:
        return [*overrides]
    typed = [override for override in overrides if key_of(override) == "seed"]
    if typed:
        raise ConfigError(
            f"sweep.seeds={seeds} repeats each setting with the seeds 0 to {seeds - 1}, but seeds are given too",
            where=typed[0],
            next_step="leave one of them out",
        )
    return [*overrides, f"seed={','.join(map(str, range(seeds)))}"]
