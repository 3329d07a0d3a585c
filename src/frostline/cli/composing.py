"""Let Hydra compose the config of a command line, once, and translate its errors."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig

from frostline.cli.failures import COMPOSING, is_of_frostline, not_composed
from frostline.cli.resuming import require_resumable, resumed
from frostline.errors import ConfigError
from frostline.paths import conf_dir

# With this set to 1, Hydra raises errors instead of printing them. It is set around Hydra's code, never around ours.
FULL_ERROR = "HYDRA_FULL_ERROR"


def compose(command: str, task: Callable[[DictConfig], None]) -> None:
    """Call the task with the config of the command line, or of each job of its sweep. Raises what the task raises, and
    FrostlineError if Hydra cannot compose a config."""
    begun, of_task, original = False, list[BaseException](), os.environ.get(FULL_ERROR)

    def called(cfg: DictConfig) -> None:
        nonlocal begun
        begun = True
        try:
            with _environment(FULL_ERROR, original):
                task(cfg)
        except BaseException as error:
            of_task.append(error)
            raise

    run = resumed(sys.argv[1:]) if command == "train" else None
    composed = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="resume" if run else command)
    try:
        with _environment(FULL_ERROR, "1"), _composed_once(sweeps="-m" in sys.argv):
            composed(called)()
    except COMPOSING as error:
        if error in of_task or (isinstance(error, ValueError | RecursionError) and is_of_frostline(error)):
            raise
        if run is not None and not begun:
            require_resumable(run, sys.argv[1:])
        raise not_composed(error, command, begun=begun) from error


@contextmanager
def _composed_once(*, sweeps: bool) -> Iterator[None]:
    """Let Hydra compose a run once. It composes it twice, the first time to read `hydra.mode`; Frostline sweeps if and
    only if `-m` is given. Raises ConfigError if a file sets another mode."""
    get_mode, compose_config = Hydra.get_mode, Hydra.compose_config

    def mode_of_command_line(*_: Any, **settings: Any) -> RunMode | None:
        return None if sweeps else RunMode.RUN

    def compose_checked(hydra: Hydra, *args: Any, **settings: Any) -> DictConfig:
        config = compose_config(hydra, *args, **settings)
        if not sweeps and config.hydra.mode not in (None, RunMode.RUN):
            raise ConfigError(
                "a config file sets hydra.mode, but only the flag -m starts a sweep",
                where="hydra.mode, in a file of your own options (--config-dir, conf/)",
                next_step="remove hydra.mode from that file",
            )
        return config

    Hydra.get_mode, Hydra.compose_config = mode_of_command_line, compose_checked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Hydra.get_mode, Hydra.compose_config = get_mode, compose_config  # type: ignore[method-assign]


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    _set(name, value)
    try:
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
