"""Entry point: check the command line of `frostline <command>`, compose its config with Hydra and run it. Heavy imports
wait for the checks."""

import os
import signal
import sys
from contextlib import nullcontext

from omegaconf import DictConfig

from frostline.cli.command import run_command
from frostline.cli.composing import FULL_ERROR, compose
from frostline.cli.failures import tell
from frostline.cli.help import COMMANDS, named_alone, require_known_flags, settings_first, silence_stdout
from frostline.cli.nested import with_nested
from frostline.cli.own_options import require_own_names
from frostline.cli.reserving import Reserved
from frostline.cli.sweep_arguments import FLAGS, is_sweep, require_sweep
from frostline.cli.typed import quoted_settings, with_home
from frostline.config.fast_yaml import parse_fast
from frostline.distributed.launcher import require_starter, was_started
from frostline.distributed.relaunch import config_folders
from frostline.distributed.signals import Stopped, end_with_parent, stoppable, tell_stopped, unfailing_output
from frostline.errors import ConfigError, FrostlineError, close_names


def main(command: str | None = None) -> None:
    """command: None reads it from the command line. `__main__` has answered `--help` before."""
    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    parse_fast()
    Reserved.register()
    printed = False
    try:
        command = command or _command()
        sys.argv[1:] = with_home(named_alone(command, sys.argv[1:]))
        require_known_flags(sys.argv[1:])
        require_own_names(config_folders())
        require_starter()
        if was_started():
            end_with_parent(grace=10.0)  # time to end by itself after rank 0 has ended
        if command == "train" and is_sweep(sys.argv[1:]):
            from frostline.cli.sweep_run import run_sweep  # not needed for one run

            failures, printed = run_sweep(), True
        else:
            failures = _run(command)
    except FrostlineError as error:
        failures = [error]
    except KeyboardInterrupt:
        tell_stopped(Stopped(signal.SIGINT))
        sys.exit(130)
    except Stopped as stopped:
        tell_stopped(stopped)
        raise
    except BrokenPipeError:
        silence_stdout()
        return
    if failures and wants_traceback:
        raise failures[0]
    for failure in failures if not printed else ():
        tell(failure)
    if failures:
        sys.exit(1)


def _command() -> str:
    name = sys.argv.pop(1)
    if name not in COMMANDS:
        raise ConfigError(
            f"there is no command '{name}': {close_names(name, COMMANDS)}",
            next_step="frostline --help lists the commands",
        )
    return name


def _run(command: str) -> list[FrostlineError]:
    """Run a command that is no sweep. Returns its error in a list, empty if it succeeds; raises FrostlineError if it
    cannot begin."""
    if not {*FLAGS}.isdisjoint(sys.argv[1:]):
        raise ConfigError(f"{command} takes one run, not a sweep", where="-m", next_step=f"frostline {command} --help")
    settings = settings_first(sys.argv[1:])
    require_sweep(settings, sweeps=False, resumes=False)
    sys.argv[1:] = quoted_settings(with_nested(settings), sweeps=False)
    failures: list[FrostlineError] = []

    def task(cfg: DictConfig) -> None:
        failures.extend(run_command(command, cfg))

    with stoppable(), unfailing_output() if command == "train" else nullcontext():
        try:
            compose(command, task)
        finally:
            Reserved.remove_empty()
    return failures
