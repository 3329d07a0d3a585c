"""Begin a training: in a new folder, in that of a sweep's job, or where it stopped."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from frostline.cli.importing import uncollected
from frostline.cli.job import overrides, sweep_folder
from frostline.cli.sweep_arguments import GROUPS
from frostline.commands.checks import check
from frostline.config.schedules import whole_schedule
from frostline.distributed.launcher import follows, many
from frostline.distributed.relaunch import launch_alike, whole_config_dirs
from frostline.errors import ConfigError
from frostline.paths import at_home
from frostline.runs.folder import (
    amended,
    checkpoint_of,
    goes_on,
    opened,
    placed,
    require_unfinished,
    typed_anywhere,
    with_found,
)
from frostline.runs.folders import await_orphans, free_folder, require_writable, reserved, stamp
from frostline.runs.record import FILE

WATCHED = "FROSTLINE_WATCHED"  # set for the ranks of a run that a sweep may end


def train(cfg: DictConfig) -> None:
    if "run_dir" not in cfg:
        _resume(cfg)
        return
    make_whole(cfg)
    check(cfg)
    with open_dict(cfg):
        for group in GROUPS:
            del cfg[group]  # a run keeps its own settings only
    job = _sweep_job()
    OmegaConf.update(cfg, "test", bool(cfg.test) and (job is None or job.is_tested))
    if cfg.resume is not None:
        raise ConfigError(
            "resume= belongs on the command line, not in YAML", where="resume", next_step=f"resume={cfg.resume}"
        )
    if many() or cfg.requeue or cfg.trainer.num_nodes > 1:
        _take_up(cfg)
        return
    if job is not None:
        job.remove_remains()
        if (begun := job.begun_folder()) is not None:
            _go_on(cfg, begun)
            return
    folder, setting = (job.folder, "hydra.sweep.subdir") if job is not None else (at_home(cfg.run_dir), "run_dir")
    named = job is not None or not names_itself(cfg) or cfg.dry_run
    with run_folder(folder, named=named, setting=setting) as own:
        others = [override for override in overrides() if not override.startswith("run_dir=")]
        _start(placed(cfg, own), own, [*others, *_of_job(cfg), f"run_dir={own}"], resume=False)


def _sweep_job() -> Any:
    """A `SweepJob` in a sweep, else None. Raises ConfigError if the job's folder is not in the sweep's."""
    sweep = sweep_folder()
    if sweep is None:
        return None
    from frostline.cli.sweep_job import SweepJob  # imports all that runs sweeps

    return SweepJob(sweep)


def run_folder(
    folder: Path, *, named: bool, setting: str = "run_dir", holds: str = FILE
) -> AbstractContextManager[Path]:
    """Yield a free folder. named: whether the user or a sweep chose its name; any other is created at once. setting:
    the key that selects another folder. holds: the file that will mark it as taken."""
    if follows():
        return nullcontext(folder)
    return nullcontext(free_folder(folder, setting, holds)) if named else reserved(folder)


def names_itself(cfg: DictConfig, key: str = "run_dir") -> bool:
    """Whether the folder's name holds the start time, so that each start of the command gets another folder."""
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        node = node[part]
    return "${now:" in str(node)


def _take_up(cfg: DictConfig) -> None:
    """Begin the run in its folder, or continue it: several processes get this command, or one gets it repeatedly."""
    if sweep_folder() is not None or names_itself(cfg):
        raise ConfigError(
            "every process and every restart needs the same run_dir, but the default contains the start time",
            where="run_dir",
            next_step="run_dir=<a folder that every host sees>, without -m",
        )
    folder = at_home(cfg.run_dir)
    seen, settings = stamp(folder), placed(cfg, folder)
    resume = goes_on(folder, settings)
    _start(with_found(settings, folder) if resume else settings, folder, [*overrides()], resume=resume, seen=seen)


def _of_job(cfg: DictConfig) -> list[str]:
    """What the sweep decides for its job, for the other ranks."""
    return [f"test={str(cfg.test).lower()}"] if sweep_folder() is not None else []


def _go_on(cfg: DictConfig, folder: Path) -> None:
    """Continue the run of a job that was stopped; begin it anew if it has no checkpoint."""
    await_orphans(folder)
    if checkpoint_of(folder, "last") is None:
        shutil.rmtree(folder)
    settings, seen = placed(cfg, folder), stamp(folder)
    resume = goes_on(folder, settings)
    others = [*overrides(), *_of_job(cfg), f"run_dir={folder}"]
    _start(with_found(settings, folder) if resume else settings, folder, others, resume=resume, seen=seen)


def _resume(cfg: DictConfig) -> None:
    check(cfg, command="resume")
    folder = at_home(cfg.resume)
    seen = stamp(folder)
    record, settings = opened(folder, trains=True, trust=cfg.trust, again=trusting("train"))
    others = [override for override in overrides() if not override.startswith(("resume=", "trust="))]
    require_unfinished(record, folder, others)
    settings = amended(settings, data=cfg.data, trainer=cfg.trainer, cache=cfg.cache, model=cfg.model)
    check(settings, command=None)
    _start(settings, folder, [f"resume={folder}", f"trust={cfg.trust}", *others], resume=True, seen=seen)


def trusting(command: str, text: str | None = None) -> str:
    """The given command with `trust=true`. text: the value of `text=` as typed, without the quotes added for Hydra."""
    others = [override for override in overrides() if not override.startswith(("trust=", "text="))]
    typed = [] if text is None else [f"text={text}"]
    return shlex.join(["frostline", command, *others, *typed, "trust=true"])


def _start(
    cfg: DictConfig, folder: Path, others: list[str], *, resume: bool, seen: list[tuple[str, int, int]] | None = None
) -> None:
    """cfg: the checked config. others: arguments with which the other ranks are started. seen: `stamp` of the folder
    before anything in it was read; None for a new run."""
    if not follows():
        named = any(override.startswith("run_dir=") for override in overrides())
        require_writable(folder, None if resume else "run_dir" if named else "logs_dir")
    # It can be typed again from any folder. In a sweep, it has the overrides of this job only.
    command = shlex.join(["frostline", "train", *whole_config_dirs(), *typed_anywhere(cfg, overrides())])
    launch_alike("train", others)
    with uncollected():
        from frostline.commands.train import train as run

    with _watched() as watched:
        run(cfg, folder, command=command, resume=resume, seen=seen or [], watched=watched)


@contextmanager
def _watched() -> Iterator[Any]:
    """What may end this run of a sweep. Ranks that it starts inherit the variable that tells them of it."""
    from frostline.training.callbacks.pruning import Watched

    if follows():
        yield Watched(None) if os.environ.get(WATCHED) else None
        return
    job = _sweep_job()
    watch = None if job is None else job.watch
    if watch is None or not watch.decides:
        yield None
        return
    os.environ[WATCHED] = "1"
    try:
        yield Watched(watch)
    finally:
        del os.environ[WATCHED]


def make_whole(cfg: DictConfig) -> None:
    recipe = HydraConfig.get().runtime.choices.get("experiment")
    for note in whole_schedule(cfg, overrides(), of_recipe=recipe not in (None, "null")):
        if not follows():
            print(f"frostline: {note}", file=sys.stderr)
