"""Run a sweep: begin it or take it up, run its jobs, print its leaderboard."""

import sys
import traceback
from contextlib import nullcontext

from omegaconf import DictConfig

from frostline.cli.command import run_command
from frostline.cli.composing import compose
from frostline.cli.failures import refused, tell, unexpected
from frostline.cli.help import settings_first
from frostline.cli.job import sweep_folder
from frostline.cli.nested import with_nested
from frostline.cli.resuming import resumed
from frostline.cli.sweep import Board
from frostline.cli.sweep_arguments import FLAGS, require_sweep
from frostline.cli.sweep_jobs import Jobs
from frostline.cli.sweep_launch import arguments_of_rank_0, launch_of_sweep
from frostline.cli.sweep_listing import require_lists
from frostline.cli.sweep_resuming import taken_up
from frostline.cli.sweep_session import Session
from frostline.cli.typed import quoted_settings
from frostline.distributed.launcher import tell_torchrun
from frostline.distributed.relaunch import unlaunched
from frostline.distributed.signals import stoppable, unfailing_output
from frostline.errors import ConfigError, FrostlineError


def run_sweep() -> list[FrostlineError]:
    """Run the sweep of the command line; print and return the errors of its jobs. Raises FrostlineError if no sweep can
    begin."""
    launch = launch_of_sweep()
    if launch is not None and launch.rank != 0:
        return []  # torchrun waits for rank 0, which runs the sweep
    if launch is not None:
        sys.argv[1:] = arguments_of_rank_0(launch, sys.argv[1:])
    Session.forget()  # of a sweep before it in this process
    try:
        with nullcontext() if launch is None else unlaunched():
            _prepare()
            with stoppable(), unfailing_output():
                failures = _run()
    finally:
        Session.forget()
    if launch is not None:
        for failure in failures:
            tell_torchrun(failure.what)
    return failures


def _prepare() -> None:
    """Move `-m` to the front and quote the settings. Raises ConfigError for a command line that is no sweep."""
    again = taken_up(sys.argv[1:])
    arguments = sys.argv[1:] if again is None else ["-m", *again]
    if resumed(arguments) is not None:
        raise ConfigError(
            "resume= takes one run, not a sweep", where="-m", next_step="frostline train resume=<its folder>"
        )
    settings = settings_first([argument for argument in arguments if argument not in FLAGS])
    require_sweep(settings, sweeps=True, resumes=again is not None)
    require_lists(settings)
    sys.argv[1:] = ["-m", *quoted_settings(with_nested(settings), sweeps=True)]
    Jobs.typed = settings


def _run() -> list[FrostlineError]:
    """Run each job, print its error at once, and go on. Returns all errors."""

    def task(cfg: DictConfig) -> None:
        sweep = sweep_folder()
        assert sweep is not None
        board.begin()
        try:
            found = run_command("train", cfg)
        except BaseException as error:
            board.end(sweep, error)
            if not isinstance(error, Exception) or isinstance(error, BrokenPipeError):
                raise
            traceback.print_exception(error)
            failures.append(unexpected(error))
            return
        failures.extend(found)
        for failure in found:
            tell(failure)
        board.end(sweep, found[0] if found else None)

    failures, board = list[FrostlineError](), Board()
    Jobs.all = []
    try:
        compose("train", task)
    finally:
        board.tell_left()
        Session.remove_unbegun()
    for failure in _listed(board):
        tell(failure)
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
