"""Entry point: compose `frostline <command>` with Hydra and run it. Heavy imports wait for the checks."""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import hydra
from omegaconf import DictConfig, OmegaConf

from frostline.cli.failures import COMPOSING, is_of_frostline, not_composed, refused, too_large, unexpected
from frostline.cli.help import COMMANDS, named_alone, require_known_flags, settings_first, silence_stdout
from frostline.cli.nested import with_nested
from frostline.cli.resuming import require_resumable, resumed
from frostline.cli.sweep import Board, sweep_folder
from frostline.cli.sweep_composing import composed_once
from frostline.cli.sweep_jobs import Jobs
from frostline.cli.sweep_launch import arguments_of_rank_0, launch_of_sweep
from frostline.cli.sweep_listing import require_lists
from frostline.cli.sweep_resuming import taken_up
from frostline.cli.sweep_session import Session
from frostline.cli.sweep_settings import require_sweep
from frostline.cli.typed import quoted_settings, with_home
from frostline.config.fast_yaml import parse_fast
from frostline.distributed.launcher import follows, launched, require_starter, tell_torchrun, was_started
from frostline.distributed.relaunch import launched_anew, unlaunched
from frostline.distributed.signals import Stopped, end_with_parent, stoppable, tell_stopped, unfailing_output
from frostline.errors import (
    ConfigError,
    FrostlineError,
    Pruned,
    close_names,
    memory_is_short,
    shown,
)
from frostline.paths import conf_dir
from frostline.quoting import with_program

# With this set to 1, Hydra raises errors instead of printing them. It is set around Hydra's code, never around ours.
FULL_ERROR = "HYDRA_FULL_ERROR"


def main(command: str | None = None) -> None:
    """command: None reads it from the command line. `__main__` has answered `--help` before."""
    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    parse_fast()
    try:
        command = command or _command()
        sys.argv[1:] = with_home(named_alone(command, sys.argv[1:]))
        require_known_flags(sys.argv[1:])
        require_starter()
        if was_started():
            end_with_parent(grace=10.0)  # time to end by itself after rank 0 has ended
        launch = launch_of_sweep(command, sys.argv[1:])
        if launch is not None and launch.rank != 0:
            return  # torchrun waits for rank 0, which runs the sweep
        if launch is not None:
            sys.argv[1:] = arguments_of_rank_0(launch, sys.argv[1:])
        with nullcontext() if launch is None else unlaunched():
            _sweep_first(command)
            with stoppable(), unfailing_output() if command == "train" else nullcontext():
                failures = _run(command)
        printed = Session.folder is not None  # a sweep prints the error of a job when it happens
    except FrostlineError as error:
        failures, printed = [error], False
    except KeyboardInterrupt:
        tell_stopped(Stopped(signal.SIGINT))
        sys.exit(130)
    except Stopped as stopped:
        tell_stopped(stopped)
        raise
    except BrokenPipeError:
        silence_stdout()
        return
    for failure in failures:
        if wants_traceback:
            raise failure
        if not printed:
            _tell(failure)
        elif launch is not None:
            tell_torchrun(failure.what)
    if failures:
        sys.exit(1)


def _tell(failure: FrostlineError) -> None:
    """Rank 0 prints its error. Another rank prints its own only if it may differ and torchrun does not collect it."""
    message = with_program(shown(str(failure)))
    try:
        launch = launched()
        require_starter()
    except ConfigError:  # the rank of this process is unknown
        print(f"frostline: {message}", file=sys.stderr)
        return
    if not follows():
        print(f"frostline: {message}", file=sys.stderr)
        tell_torchrun(failure.what)
    elif not tell_torchrun(str(failure)) and "torch" in sys.modules:  # else all ranks report the same
        rank = f"process {launch.rank} on {socket.gethostname()}: " if launch is not None else ""
        print(f"frostline: {rank}{message}", file=sys.stderr)


def _sweep_first(command: str) -> None:
    """Move `-m` to the front and quote the settings. Raises ConfigError for a sweep that the command cannot run."""
    OmegaConf.register_new_resolver("reserved", Session.reserve, use_cache=True, replace=True)
    Session.forget()
    again = taken_up(sys.argv[1:]) if command == "train" else None
    if again is not None:
        sys.argv[1:] = ["-m", *again]
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    if flags and command != "train":
        raise ConfigError(f"{command} takes one run, not a sweep", where="-m", next_step=f"frostline {command} --help")
    if flags and resumed(sys.argv[1:]) is not None:
        raise ConfigError(
            "resume= takes one run, not a sweep", where="-m", next_step="frostline train resume=<its folder>"
        )
    others = settings_first([argument for argument in sys.argv[1:] if argument not in flags])
    require_lists(others, sweeps=bool(flags))
    require_sweep(others, sweeps=bool(flags), resumes=again is not None)
    sys.argv[1:] = ["-m"] * bool(flags) + quoted_settings(with_nested(others), sweeps=bool(flags))
    Jobs.typed = others


def _command() -> str:
    name = sys.argv.pop(1)
    if name not in COMMANDS:
        raise ConfigError(
            f"there is no command '{name}': {close_names(name, COMMANDS)}",
            next_step="frostline --help lists the commands",
        )
    return name


def _run(command: str) -> list[FrostlineError]:
    """Run the command, or each job of a sweep, and return their errors. A sweep prints an error at once and goes on."""

    def task(cfg: DictConfig) -> None:
        sweep = sweep_folder()
        if sweep is not None:
            board.begin()
        started.append(command)
        try:
            found = _failures(command, cfg, original)
        except BaseException as error:
            ours.append(error)
            if sweep is not None:
                board.end(sweep, error)
            if sweep is None or not isinstance(error, Exception) or isinstance(error, BrokenPipeError):
                raise
            traceback.print_exception(error)
            failures.append(unexpected(error))
            return
        failures.extend(found)
        if sweep is not None:
            for failure in found:
                _tell(failure)
            board.end(sweep, found[0] if found else None)

    failures, started, ours, board = list[FrostlineError](), list[str](), list[BaseException](), Board()
    Jobs.all = []
    original = os.environ.get(FULL_ERROR)
    run = resumed(sys.argv[1:]) if command == "train" else None
    compose = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="resume" if run else command)
    try:
        with _environment(FULL_ERROR, "1"), composed_once(sweeps="-m" in sys.argv):
            compose(task)()
    except COMPOSING as error:
        if error in ours or (isinstance(error, ValueError | RecursionError) and is_of_frostline(error)):
            raise
        if run is not None and not started:
            require_resumable(run, sys.argv[1:])
        raise not_composed(error, command, begun=bool(started)) from error
    finally:
        board.tell_left()
        Session.remove_unbegun()
    for failure in _listed(board):
        _tell(failure)
        failures.append(failure)
    return failures


def _listed(board: Board) -> list[FrostlineError]:
    """Print the leaderboard. A folder where it cannot be written loses it, but not the runs."""
    try:
        return board.print()
    except BrokenPipeError:
        raise
    except OSError as error:
        return [refused(error)]


def _failures(command: str, cfg: DictConfig, full_error: str | None) -> list[FrostlineError]:
    """Run one job and return its error in a list, empty if it succeeds. full_error: the user's HYDRA_FULL_ERROR."""
    from frostline.cli.dispatch import TASKS  # not needed to compose a config or to refuse one

    try:
        with _environment(FULL_ERROR, full_error), launched_anew():
            TASKS[command](cfg)
    except FrostlineError as error:
        return [error]
    except Pruned as pruned:
        if not follows():
            print(f"pruned: {pruned}", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        return [refused(error)]
    except (RuntimeError, MemoryError) as error:
        if not memory_is_short(error):
            raise
        return [too_large(error)]
    return []


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
