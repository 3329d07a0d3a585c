"""The door: `frostline <command>`, composed by Hydra. Heavy imports wait for the checks."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline import __version__
from frostline.commands import TASKS, Board, overrides, sweep_folder
from frostline.errors import ConfigError, FrostlineError, RunError, close_names, first_line, memory_is_short
from frostline.folders import reserved_at_once
from frostline.hydra_errors import translated
from frostline.launcher import follows, launched, many, require_starter, tell_torchrun
from frostline.paths import conf_dir, remove_empty
from frostline.ranks import config_folders, launched_anew
from frostline.resuming import require_resumable, resumed
from frostline.stopping import Stopped, stoppable, tell_stopped, unfailing_output
from frostline.typed import quoted_settings
from frostline.usage import USAGE, help_of, require_known_flags, settings_first

# Hydra prints its own traceback unless told to raise. It is told so around its own code, never around ours.
FULL_ERROR = "HYDRA_FULL_ERROR"
WRITTEN_FIRST = "multirun.yaml"  # by Hydra, into the folder of a sweep


def main(command: str | None = None) -> None:
    """`command` None: taken from the command line."""
    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    try:
        command = command or _command()
        if {"--help", "-h"} & set(sys.argv):
            print(help_of(command, config_folders()), flush=True)
            return
        require_known_flags(sys.argv[1:])
        require_starter()
        _sweep_first(command)
        with stoppable(), unfailing_output() if command == "train" else nullcontext():
            failures = _run(command)
    except FrostlineError as error:
        failures = [error]
    except KeyboardInterrupt:
        tell_stopped(Stopped(signal.SIGINT))
        sys.exit(130)
    except Stopped as stopped:
        tell_stopped(stopped)
        raise
    except BrokenPipeError:  # somebody read the first lines only: `frostline --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    for failure in failures:
        if wants_traceback:
            raise failure
        _tell(failure)
    if failures:
        sys.exit(1)


def _tell(failure: FrostlineError) -> None:
    """Every rank detects the error; rank 0 prints it. Errors of one host are printed by that host."""
    try:
        launch = launched()
        require_starter()
    except ConfigError:  # nobody else will say it
        print(f"frostline: {failure}", file=sys.stderr)
        return
    if not follows():
        print(f"frostline: {failure}", file=sys.stderr)
        tell_torchrun(failure.what)
    elif not tell_torchrun(str(failure)) and "torch" in sys.modules:  # before, only the command line was looked at
        rank = f"process {launch.rank} on {socket.gethostname()}: " if launch is not None else ""
        print(f"frostline: {rank}{failure}", file=sys.stderr)


def _sweep_first(command: str) -> None:
    """Wherever `-m` stands: argparse takes what follows for its own, unless settings follow alone."""
    OmegaConf.register_new_resolver("reserved", reserved_at_once, use_cache=True, replace=True)
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    if flags and command != "train":
        raise ConfigError(f"{command} is for one run", where="-m", next_step=f"frostline {command} --help")
    if flags and resumed(sys.argv[1:]) is not None:
        raise ConfigError("resume= is for one run", where="-m", next_step="frostline train resume=<its folder>")
    if flags and many():
        raise ConfigError(
            "a sweep starts its processes itself, and others were started for it already",
            where="-m",
            next_step="a command for each run, with its own run_dir; or the sweep alone, with trainer.devices=<number>",
        )
    others = settings_first([argument for argument in sys.argv[1:] if argument not in flags])
    sys.argv[1:] = flags[:1] + quoted_settings(others, sweeps=bool(flags))


def _command() -> str:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(USAGE, flush=True)
        sys.exit(0)
    if name == "--version":
        print(__version__)
        sys.exit(0)
    if name not in TASKS:
        raise ConfigError(
            f"there is no command '{name}': {close_names(name, TASKS)}", next_step="frostline --help lists the commands"
        )
    return name


def _run(command: str) -> list[FrostlineError]:
    """What went wrong in each job: a sweep goes on with the next."""

    def task(cfg: DictConfig) -> None:
        started.append(command)
        sweep = sweep_folder()
        if sweep is not None:
            print(f"\n[{HydraConfig.get().job.num}]  {' '.join(overrides())}", flush=True)
        before = len(failures)
        unexpected: BaseException | None = None
        try:
            with _environment(FULL_ERROR, original), launched_anew():
                TASKS[command](cfg)
        except FrostlineError as error:
            failures.append(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            failures.append(_refused(error))
        except BaseException as error:
            unexpected = error
            if not isinstance(error, RuntimeError | MemoryError) or not memory_is_short(error):
                raise
            failures.append(_too_large(error))
        finally:
            if sweep is not None:
                board.add(sweep, failures[-1] if len(failures) > before else unexpected)

    failures, started, board = list[FrostlineError](), list[str](), Board()
    original = os.environ.get(FULL_ERROR)
    run = resumed(sys.argv[1:]) if command == "train" else None
    compose = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="resume" if run else command)
    try:
        with _environment(FULL_ERROR, "1"):
            compose(task)()
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        if started:
            raise  # an error of ours, not of the command line
        SweepFolder.remove_unbegun()
        if isinstance(error, OSError) and not isinstance(error, HydraException):
            raise RunError(
                f"the folder of the sweep cannot be made: {error.strerror}",
                where=error.filename,
                next_step="logs_dir=<folder>",
            ) from error
        if run is not None:
            require_resumable(run, sys.argv[1:])
        raise translated(error, command) from error
    board.print()
    return failures


class SweepFolder(Callback):
    """Knows where Hydra puts a sweep: one that cannot begin leaves nothing. Hydra writes there before it composes."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        SweepFolder.folder = Path(config.hydra.sweep.dir)

    @staticmethod
    def remove_unbegun() -> None:
        folder, SweepFolder.folder = SweepFolder.folder, None
        if folder is not None and {path.name for path in folder.glob("*")} <= {WRITTEN_FIRST}:
            (folder / WRITTEN_FIRST).unlink(missing_ok=True)
            remove_empty([folder, *folder.parents[:3]])  # of logs/sweeps/<date>/<time>


def _refused(error: OSError) -> RunError:
    """What the system does not let be done: no permission, no room, a name too long."""
    refusal = RunError(
        f"the system refuses: {error.strerror or error}",
        where=error.filename,
        next_step="correct that place or its permissions, or make room; HYDRA_FULL_ERROR=1 shows where it was met",
    )
    refusal.__cause__ = error
    return refusal


def _too_large(error: Exception) -> RunError:
    refusal = RunError(
        f"memory ran out: {first_line(error)}",
        where="model, data",
        next_step="a smaller data.image_size or model; HYDRA_FULL_ERROR=1 shows where it was met",
    )
    refusal.__cause__ = error
    return refusal


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
