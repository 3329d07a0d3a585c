"""What a command line says of a sweep: read before anything is imported that runs one."""

from collections.abc import Sequence

from frostline.errors import ConfigError
from frostline.quoting import key_of

FLAGS = ("-m", "--multirun")
TAKES_UP = ("sweep.resume", "sweep.join")
GROUPS = ("sweep", "launcher")  # their settings are the sweep's, and not those of its jobs


def is_sweep(arguments: Sequence[str]) -> bool:
    return not {*FLAGS}.isdisjoint(arguments) or bool(taking_up(arguments))


def taking_up(arguments: Sequence[str]) -> dict[str, str]:
    """The folder that `sweep.resume=` or `sweep.join=` names, by this key."""
    named = {key_of(it): it.partition("=")[2].strip("'\"") for it in arguments if key_of(it) in TAKES_UP}
    return {key: value for key, value in named.items() if value != "null"}


def is_of_sweep(key: str) -> bool:
    """Whether a setting is the sweep's, and not one of its jobs'."""
    return key.partition(".")[0] in GROUPS


def require_sweep(arguments: Sequence[str], *, sweeps: bool, resumes: bool) -> None:
    """Raises ConfigError if settings of a sweep are typed without -m, those of a resume for a new sweep, a
    launcher of Hydra's, or a mode."""
    for argument in arguments:
        key, value = key_of(argument), argument.partition("=")[2]
        if key == "hydra.mode":
            raise ConfigError(
                "hydra.mode cannot be set: -m selects a sweep", where=argument, next_step="leave hydra.mode out"
            )
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
