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


def require_dry_alone(config: DictConfig, launcher: Slurm | Local | None) -> None:
    """Raises ConfigError for a dry run of workers, whose output goes to log files."""
    if config.get("dry_run") and launcher is not None:
        raise ConfigError(
            "workers write to log files, and a dry run prints plans",
            where="dry_run",
            next_step="leave `launcher=` out, or dry_run",
        )
