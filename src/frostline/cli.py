"""The door: `frostline train|lr_find|evaluate|predict`, composed by Hydra. Heavy imports wait for the checks."""

import os
import shlex
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
from frostline.paths import conf_dir, remove_empty
from frostline.range_test import NUMBERS, RangeTest
from frostline.ranks import config_dirs, config_folders, follows, launch_alike, launched_anew
from frostline.runs import free_folder, placed, read_run, require_writable
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
        print(f"frostline: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)


def _sweep_first(command: str) -> None:
    """Wherever `-m` stands: argparse takes what follows for its own, unless settings follow alone."""
    flags = [argument for argument in sys.argv[1:] if argument in ("-m", "--multirun")]
    if flags and command != "train":
        raise ConfigError(f"{command} is for one run", where="-m", next_step=f"frostline {command} --help")
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


def _resume(folder: Path) -> None:
    others = [override for override in _overrides() if not override.startswith("resume=")]
    if others:
        raise ConfigError(
            f"resume= takes the run's own configuration, and here stands more: {' '.join(others)}",
            where="command line",
            next_step="leave the rest out, or start a new run without resume=",
        )
    record, cfg = read_run(folder)
    if record.status == "finished":
        raise RunError(
            "this run is finished", where=folder, next_step=f"frostline evaluate run={folder}, or start a new run"
        )
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


def _lr_find(cfg: DictConfig) -> None:
    check(cfg, "lr_find")
    test = RangeTest(cfg.lr_find.steps, cfg.lr_find.lowest, cfg.lr_find.highest)
    if cfg.resume is not None or cfg.dry_run:
        raise ConfigError(
            "lr_find tries rates for a new run, on a copy: there is nothing to resume, and nothing that is not dry",
            where="resume, dry_run",
            next_step="leave it out; init_from=<run folder> starts from a run's weights",
        )
    folder = Path(cfg.lr_find.output)
    if not follows():
        folder = free_folder(folder, NUMBERS)
        require_writable(folder, "lr_find.output")
    typed = [*config_dirs(), *_overrides()]
    launch_alike("lr_find", _overrides())
    from frostline.lr_find import lr_find

    lr_find(cfg, test, folder, typed=typed, command=shlex.join(["frostline", "lr_find", *typed]))


def _evaluate(cfg: DictConfig) -> None:
    check(cfg)
    read_run(Path(cfg.run))
    launch_alike("evaluate", _overrides())
    from frostline.run import evaluate

    evaluate(cfg)


def _predict(cfg: DictConfig) -> None:
    check(cfg)
    read_run(Path(cfg.run))
    from frostline.predict import predict

    predict(cfg)


TASKS: dict[str, Callable[[DictConfig], None]] = {
    "train": _train,
    "lr_find": _lr_find,
    "evaluate": _evaluate,
    "predict": _predict,
}


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
