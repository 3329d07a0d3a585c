"""The door: `frostline train|evaluate|predict`, composed by Hydra. Heavy imports happen inside, after the checks."""

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline import __version__
from frostline.checks import check
from frostline.errors import ConfigError, FrostlineError, RunError, close_names
from frostline.paths import conf_dir, remove_empty
from frostline.usage import USAGE, help_of

# Hydra prints its own traceback unless told to raise. It is told so around its own code, never around ours.
FULL_ERROR = "HYDRA_FULL_ERROR"


def main(command: str | None = None) -> None:
    """`command` None: taken from the command line."""
    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    try:
        command = command or _command()
        if {"--help", "-h"} & set(sys.argv):
            print(help_of(command))
            return
        failures = _run(command)
    except FrostlineError as error:
        failures = [error]
    except KeyboardInterrupt:
        sys.exit(130)
    for failure in failures:
        if wants_traceback:
            raise failure
        print(f"frostline: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)


def _command() -> str:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print(USAGE)
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
        try:
            with _environment(FULL_ERROR, original):
                TASKS[command](cfg)
        except FrostlineError as error:
            failures.append(error)

    failures: list[FrostlineError] = []
    started: list[str] = []
    original = os.environ.get(FULL_ERROR)
    compose = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)
    try:
        with _environment(FULL_ERROR, "1"):
            compose(task)()
    except MissingConfigException as error:
        raise _unknown_option(error) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _unknown_key(error) from error
    except OSError as error:
        if started:
            raise
        raise RunError(
            f"the folder of the sweep cannot be made: {error.strerror}",
            where=error.filename,
            next_step="logs_dir=<folder>",
        ) from error
    return failures


def _train(cfg: DictConfig) -> None:
    sweep = Path(HydraConfig.get().sweep.dir) if HydraConfig.get().mode == RunMode.MULTIRUN else None
    try:
        resume = cfg.resume is not None
        if resume:
            cfg, folder = _resumed(cfg)
        else:
            folder = Path(HydraConfig.get().runtime.output_dir if sweep else cfg.run_dir)
            folder = folder if _follows() else _free(folder)
            cfg = _with_folder(cfg, folder)
        check(cfg)
        if not _follows():
            _require_writable(folder)
        _launch_ranks_alike(folder)
        from frostline.run import train

        train(cfg, folder, command=_spoken(), resume=resume)
    finally:
        if sweep is not None:
            from frostline.report.leaderboard import write_leaderboard

            write_leaderboard(sweep)


def _evaluate(cfg: DictConfig) -> None:
    check(cfg)
    _require_run(Path(cfg.run))
    from frostline.run import evaluate

    evaluate(cfg)


def _predict(cfg: DictConfig) -> None:
    check(cfg)
    _require_run(Path(cfg.run))
    from frostline.predict import predict

    predict(cfg)


TASKS: dict[str, Callable[[DictConfig], None]] = {"train": _train, "evaluate": _evaluate, "predict": _predict}


# --- run folders ---


def _resumed(cfg: DictConfig) -> tuple[DictConfig, Path]:
    others = [o for o in HydraConfig.get().overrides.task if not o.startswith(("resume=", "run_dir="))]
    if others:
        raise ConfigError(
            f"resume= takes the run's own configuration, and here stands more: {' '.join(others)}",
            where="command line",
            next_step="leave the rest out, or start a new run without resume=",
        )
    folder = Path(cfg.resume)
    record = _require_run(folder)
    if record.status == "finished":
        raise RunError(
            "this run is finished", where=folder, next_step=f"frostline evaluate run={folder}, or start a new run"
        )
    loaded = OmegaConf.load(folder / "config.yaml")
    assert isinstance(loaded, DictConfig)
    return _with_folder(loaded, folder), folder


def _require_run(folder: Path) -> Any:
    from frostline.record import Record

    return Record.read(folder)


def _free(folder: Path) -> Path:
    """`folder`, or with a number behind it where a run lies there already."""
    number, claimed = 1, folder
    while (claimed / "run.json").exists():
        number += 1
        claimed = folder.with_name(f"{folder.name}-{number}")
    return claimed


def _with_folder(cfg: DictConfig, folder: Path) -> DictConfig:
    placed = OmegaConf.merge(cfg, {"run_dir": str(folder), "resume": None})
    assert isinstance(placed, DictConfig)
    return placed


def _require_writable(folder: Path) -> None:
    """By trying: folders that this makes are removed again, so that an error on the way to training leaves nothing."""
    missing = [path for path in [folder, *folder.parents] if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(
            f"the run folder cannot be written: {error.strerror}",
            where=folder,
            next_step="logs_dir=<a folder of yours>",
        ) from error
    finally:
        remove_empty(missing)


# --- ranks ---


def _launch_ranks_alike(folder: Path) -> None:
    """Lightning starts the other ranks with this process's command line: make it say this very run, which in a sweep is
    one of many, and its folder, whose name holds the time."""
    overrides = list(HydraConfig.get().overrides.task)
    sys.argv[1:] = [
        *(["train"] if Path(sys.argv[0]).name != "train.py" else []),
        *_config_dirs(sys.argv),
        *[o for o in overrides if not o.startswith(("run_dir=", "resume="))],
        f"run_dir={folder}",
    ]


def _follows() -> bool:
    """Whether another process leads this run: as torchrun, SLURM and Lightning tell their processes."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _config_dirs(argv: list[str]) -> list[str]:
    return [
        part
        for number, argument in enumerate(argv)
        if argument.startswith(("--config-dir", "-cd"))
        for part in ([argument] if "=" in argument else argv[number : number + 2])
    ]


def _spoken() -> str:
    """As it can be typed again; of a sweep's job, its own part of it."""
    return shlex.join(["frostline", "train", *_config_dirs(sys.argv), *HydraConfig.get().overrides.task])


# --- Hydra's errors, with the close names ---


def _unknown_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = [name for name in error.options or [] if not name.startswith("_")]
    if not options:
        return ConfigError(str(error).splitlines()[0], where="command line", next_step="frostline train --help")
    return ConfigError(
        f"there is no {group} '{option}': {close_names(option, options)}",
        where=f"{group}={option}",
        next_step=f"{group}=<one of {', '.join(options)}>",
    )


def _unknown_key(error: Exception) -> ConfigError:
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    parent = getattr(cause, "parent_node", None)
    key = str(getattr(cause, "key", ""))
    first = str(error).strip().splitlines()[0]
    if isinstance(parent, DictConfig) and key and key not in parent:
        known = [str(name) for name in parent]
        full = str(getattr(cause, "full_key", key) or key)
        return ConfigError(
            f"there is no setting '{full}': {close_names(key, known)}",
            where="command line",
            next_step=f"correct it; to add a setting that is not there, +{full}=<value>",
        )
    return ConfigError(first, where="command line", next_step="frostline train --help shows questions and values")


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
