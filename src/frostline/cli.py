"""The door: `frostline train|evaluate|predict`, composed by Hydra. Heavy imports happen inside, after the checks."""

import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline import __version__
from frostline.checks import check
from frostline.errors import ConfigError, FrostlineError, RunError, close_names
from frostline.hydra_errors import translated
from frostline.launcher import follows, launched, many, tell_torchrun
from frostline.paths import conf_dir, remove_empty
from frostline.ranks import config_dirs, config_folders, launch_alike, launched_anew
from frostline.runs import free_folder, goes_on, placed, read_run, require_unfinished, require_writable
from frostline.usage import USAGE, help_of, require_known_flags

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
        _sweep_first(command)
        failures = _run(command)
    except FrostlineError as error:
        failures = [error]
    except KeyboardInterrupt:
        print("frostline: interrupted", file=sys.stderr)
        sys.exit(130)
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
    """What all processes find, the leading one says; what may be wrong with one host alone, each says for itself."""
    launch = launched()
    if not follows():
        print(f"frostline: {failure}", file=sys.stderr)
        tell_torchrun(failure.what)
    elif not tell_torchrun(str(failure)) and "torch" in sys.modules:  # before, only the command line was looked at
        rank = f"process {launch.rank} on {socket.gethostname()}: " if launch is not None else ""
        print(f"frostline: {rank}{failure}", file=sys.stderr)


def _sweep_first(command: str) -> None:
    """Wherever `-m` stands: argparse takes what follows for its own, unless settings follow alone."""
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    if flags and command != "train":
        raise ConfigError(f"{command} is for one run", where="-m", next_step=f"frostline {command} run=<run folder>")
    if flags and many():
        raise ConfigError(
            "a sweep starts its processes itself, and others were started for it already",
            where="-m",
            next_step="a command for each run, with its own run_dir; or the sweep alone, with trainer.devices=<number>",
        )
    sys.argv[1:] = flags[:1] + [argument for argument in sys.argv[1:] if argument not in flags]


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
        sweep = _sweep()
        if sweep is not None:
            boards.add(sweep / "leaderboard.csv")
            print(f"\n[{HydraConfig.get().job.num}]  {' '.join(_overrides())}", flush=True)
        try:
            with _environment(FULL_ERROR, original), launched_anew():
                TASKS[command](cfg)
        except FrostlineError as error:
            failures.append(error)
        except OSError as error:
            failures.append(_refused(error))

    failures: list[FrostlineError] = []
    boards: set[Path] = set()
    started: list[str] = []
    original = os.environ.get(FULL_ERROR)
    compose = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)
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
        raise translated(error, command) from error
    for board in boards:
        if board.is_file():
            from frostline.report.leaderboard import print_leaderboard

            print_leaderboard(board)
    return failures


class SweepFolder(Callback):
    """Knows where Hydra puts a sweep: one that cannot begin leaves nothing. Hydra writes there before it composes."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        SweepFolder.folder = Path(config.hydra.sweep.dir)

    @staticmethod
    def remove_unbegun() -> None:
        folder, SweepFolder.folder = SweepFolder.folder, None
        if folder is not None and [path.name for path in folder.glob("*")] == [WRITTEN_FIRST]:
            (folder / WRITTEN_FIRST).unlink()
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


def _sweep() -> Path | None:
    """The folder of the sweep that this is a job of."""
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.get().mode == RunMode.MULTIRUN else None


def _train(cfg: DictConfig) -> None:
    check(cfg)
    if cfg.resume is not None:
        _resume(Path(cfg.resume))
        return
    if many() or cfg.requeue or cfg.trainer.num_nodes > 1:
        _take_up(cfg)
        return
    sweep = _sweep()
    folder = sweep / str(HydraConfig.get().sweep.subdir) if sweep is not None else Path(cfg.run_dir)
    folder = folder if follows() else free_folder(folder)
    overrides = [override for override in _overrides() if not override.startswith("run_dir=")]
    try:
        _start(placed(cfg, folder), folder, [*overrides, f"run_dir={folder}"], resume=False)
    finally:
        if sweep is not None:
            from frostline.report.leaderboard import write_leaderboard

            write_leaderboard(sweep)


def _take_up(cfg: DictConfig) -> None:
    """Begin the run in its folder, or go on there: several processes are given this command, or one again and again."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    if _sweep() is not None or "${now:" in str(raw["run_dir"]):
        raise ConfigError(
            "all processes of this run, and all its starts, have to find one folder, and `run_dir` names none",
            where="run_dir",
            next_step="run_dir=<a folder that every host sees>; without -m",
        )
    folder = Path(cfg.run_dir)
    resume = goes_on(folder, placed(cfg, folder))
    if resume and not follows():
        print(f"run   {folder} goes on from its last checkpoint", flush=True)
    _start(placed(cfg, folder), folder, [*_overrides()], resume=resume)


def _resume(folder: Path) -> None:
    others = [override for override in _overrides() if not override.startswith("resume=")]
    if others:
        raise ConfigError(
            f"resume= takes the run's own configuration, and here stands more: {' '.join(others)}",
            where="command line",
            next_step="leave the rest out, or start a new run without resume=",
        )
    record, cfg = read_run(folder)
    require_unfinished(record, folder)
    _start(cfg, folder, [f"resume={folder}"], resume=True)


def _start(cfg: DictConfig, folder: Path, overrides: list[str], *, resume: bool) -> None:
    """overrides: what the other ranks of this run are started with."""
    check(cfg)
    if not follows():
        require_writable(folder)
    # As it can be typed again; of a sweep's job, its own part of it.
    command = shlex.join(["frostline", "train", *config_dirs(), *_overrides()])
    launch_alike("train", overrides)
    from frostline.run import train

    train(cfg, folder, command=command, resume=resume)


def _evaluate(cfg: DictConfig) -> None:
    check(cfg)
    read_run(Path(cfg.run))
    launch_alike("evaluate", _overrides())
    from frostline.run import evaluate

    evaluate(cfg)


def _predict(cfg: DictConfig) -> None:
    check(cfg)
    if many():
        raise ConfigError("predict is for one process", where="torchrun, srun", next_step="start it without them")
    read_run(Path(cfg.run))
    from frostline.predict import predict

    predict(cfg)


TASKS: dict[str, Callable[[DictConfig], None]] = {"train": _train, "evaluate": _evaluate, "predict": _predict}


def _overrides() -> list[str]:
    """As typed; of a sweep's job, its own. `${...}` stays as it is."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]


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
