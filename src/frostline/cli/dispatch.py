"""Run each command with its composed config. Heavy imports happen inside the functions, after the checks."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from frostline.cli.help import RANKED_ON
from frostline.cli.ranked_models import of_each_model
from frostline.cli.sweep import job_folder, overrides, sweep_folder
from frostline.commands.checks import check
from frostline.commands.lr_find.range_test import NUMBERS, RangeTest
from frostline.config.schedules import whole_schedule
from frostline.distributed.launcher import follows, many
from frostline.distributed.relaunch import config_dirs, launch_alike
from frostline.errors import ConfigError, DataError
from frostline.frozen.policy import kept_in
from frostline.paths import RANKING
from frostline.runs.folder import (
    amended,
    goes_on,
    opened,
    placed,
    require_unfinished,
    typed_anywhere,
    with_found,
)
from frostline.runs.folders import free_folder, require_writable, reserved, stamp
from frostline.runs.record import FILE, Record


def _train(cfg: DictConfig) -> None:
    if "run_dir" not in cfg:
        _resume(cfg)
        return
    _make_whole(cfg)
    check(cfg)
    if cfg.resume is not None:
        raise ConfigError(
            "resume= belongs on the command line, not in YAML", where="resume", next_step=f"resume={cfg.resume}"
        )
    if many() or cfg.requeue or cfg.trainer.num_nodes > 1:
        _take_up(cfg)
        return
    job = job_folder()
    folder, setting = (job, "hydra.sweep.subdir") if job is not None else (Path(cfg.run_dir), "run_dir")
    named = job is not None or not _names_itself(cfg) or cfg.dry_run
    with _run_folder(folder, named=named, setting=setting) as own:
        others = [override for override in overrides() if not override.startswith("run_dir=")]
        _start(placed(cfg, own), own, [*others, f"run_dir={own}"], resume=False)


def _run_folder(
    folder: Path, *, named: bool, setting: str = "run_dir", holds: str = FILE
) -> AbstractContextManager[Path]:
    """Yield a free folder. named: whether the user or a sweep chose its name; any other is created at once. setting:
    the key that selects another folder. holds: the file that will mark it as taken."""
    if follows():
        return nullcontext(folder)
    return nullcontext(free_folder(folder, setting, holds)) if named else reserved(folder)


def _names_itself(cfg: DictConfig, key: str = "run_dir") -> bool:
    """Whether the folder's name holds the start time, so that each start of the command gets another folder."""
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        node = node[part]
    return "${now:" in str(node)


def _take_up(cfg: DictConfig) -> None:
    """Begin the run in its folder, or continue it: several processes get this command, or one gets it repeatedly."""
    if sweep_folder() is not None or _names_itself(cfg):
        raise ConfigError(
            "every process and every restart needs the same run_dir, but the default contains the start time",
            where="run_dir",
            next_step="run_dir=<a folder that every host sees>, without -m",
        )
    folder = Path(cfg.run_dir)
    seen, settings = stamp(folder), placed(cfg, folder)
    resume = goes_on(folder, settings)
    _start(with_found(settings, folder) if resume else settings, folder, [*overrides()], resume=resume, seen=seen)


def _resume(cfg: DictConfig) -> None:
    check(cfg, command="resume")
    folder = Path(cfg.resume)
    seen = stamp(folder)
    record, settings = opened(folder, trains=True, trust=cfg.trust, again=_trusting("train"))
    others = [override for override in overrides() if not override.startswith(("resume=", "trust="))]
    require_unfinished(record, folder, others)
    settings = amended(settings, data=cfg.data, trainer=cfg.trainer, cache=cfg.cache, model=cfg.model)
    check(settings, command=None)
    _start(settings, folder, [f"resume={folder}", f"trust={cfg.trust}", *others], resume=True, seen=seen)


def _trusting(command: str, text: str | None = None) -> str:
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
    command = shlex.join(["frostline", "train", *config_dirs(), *typed_anywhere(cfg, overrides())])
    launch_alike("train", others)
    from frostline.commands.train import train

    train(cfg, folder, command=command, resume=resume, seen=seen or [])


def _make_whole(cfg: DictConfig) -> None:
    recipe = HydraConfig.get().runtime.choices.get("experiment")
    for note in whole_schedule(cfg, overrides(), of_recipe=recipe not in (None, "null")):
        if not follows():
            print(f"frostline: {note}", file=sys.stderr)


def _lr_find(cfg: DictConfig) -> None:
    _make_whole(cfg)
    check(cfg, "lr_find", command="lr_find")
    test = RangeTest(cfg.lr_find.steps, cfg.lr_find.lowest, cfg.lr_find.highest)
    if cfg.resume is not None or cfg.dry_run:
        raise ConfigError(
            "lr_find takes neither resume= nor dry_run=: it tries rates for a new run, on a copy",
            where="resume, dry_run",
            next_step="leave it out; init_from=<run folder> starts from a run's weights",
        )
    typed = [*config_dirs(), *overrides()]
    launch_alike("lr_find", overrides())
    with _output_folder(cfg, "lr_find.output", NUMBERS) as folder:
        from frostline.commands.lr_find.find import lr_find

        lr_find(cfg, test, folder, typed=typed, command=shlex.join(["frostline", "lr_find", *typed]))


@contextmanager
def _output_folder(cfg: DictConfig, key: str, holds: str) -> Iterator[Path]:
    """Yield the folder in which a command writes `holds` at its end. If its name is the start time, which two commands
    may share, it is created at once, and removed again if it stays empty."""
    folder = Path(OmegaConf.select(cfg, key))
    with _run_folder(folder, named=not _names_itself(cfg, key), setting=key, holds=holds) as own:
        if not follows():
            require_writable(own, key)
        yield own


def _rank(cfg: DictConfig) -> None:
    check(cfg, *RANKED_ON, command="rank")
    if many():
        raise ConfigError("rank runs in one process", where="torchrun, srun", next_step="start it without them")
    settings = of_each_model(cfg)
    command = shlex.join(["frostline", "rank", *config_dirs(), *overrides()])
    with _output_folder(cfg, "output", RANKING) as folder:
        from frostline.commands.rank.rank import rank

        rank(settings, folder, typed=[*config_dirs(), *overrides()], command=command)


def _evaluate(cfg: DictConfig) -> None:
    check(cfg, command="evaluate")
    record, settings = opened(Path(cfg.run), trains=False, trust=cfg.trust, again=_trusting("evaluate"))
    launch_alike("evaluate", overrides())
    from frostline.commands.evaluate import evaluate

    evaluate(cfg, record, settings)


def _predict(cfg: DictConfig) -> None:
    check(cfg, command="predict")
    _, settings = _opened_alone(cfg, "predict", cfg.text)
    _require_input(cfg, "predict", cfg.text)
    from frostline.commands.predict import predict

    predict(cfg, settings)


def _index(cfg: DictConfig) -> None:
    check(cfg, command="index")
    record, settings = _opened_alone(cfg, "index")
    _require_input(cfg, "index", None)
    from frostline.commands.neighbours.index import index

    index(cfg, record, settings)


def _search(cfg: DictConfig) -> None:
    check(cfg, command="search")
    record, settings = _opened_alone(cfg, "search", cfg.text)
    _require_input(cfg, "search", cfg.text)
    from frostline.commands.neighbours.search import search

    search(cfg, record, settings)


def _opened_alone(cfg: DictConfig, command: str, text: str | None = None) -> tuple[Record, DictConfig]:
    """Open the run of a command that takes one process. Raises ConfigError, RunError."""
    if many():
        raise ConfigError(f"{command} runs in one process", where="torchrun, srun", next_step="start it without them")
    return opened(Path(cfg.run), trains=False, trust=cfg.trust, again=_trusting(command, text))


def _require_input(cfg: DictConfig, command: str, text: str | None) -> None:
    """Raise ConfigError unless there is one input, DataError if it does not exist."""
    for key, types in (("windows", bool), ("quotes", bool | None)):
        if not isinstance(cfg.data[key], types):
            raise ConfigError(
                f"data.{key} is true or false, not {cfg.data[key]}", where="command line", next_step=f"data.{key}=true"
            )
    if (cfg.input is None) == (text is None):
        either = "either input= or text=" if "text" in cfg else "input="
        raise ConfigError(f"{command} needs {either}", where="input, text", next_step="input=<file or folder>")
    if cfg.input not in (None, "-") and not Path(cfg.input).exists():
        raise DataError(
            "there is no such file or folder",
            where=Path(cfg.input),
            next_step="input=<a picture, a folder of pictures, a .txt, or a table>, whichever the run takes",
        )


def _export(cfg: DictConfig) -> None:
    check(cfg, command="export")
    _, settings = _opened_alone(cfg, "export")
    from frostline.commands.export import export

    export(cfg, settings)


def _cache(cfg: DictConfig) -> None:
    check(cfg, command="cache")
    root = kept_in(cfg.dir)
    from frostline.report.kept import print_cleared, print_kept
    from frostline.storage.store import Store

    store = Store(root, 0)
    if cfg["clear"]:  # `cfg.clear` is a method of every mapping
        gone = store.clear()
        print_cleared(gone, store.entries())
    else:
        print_kept(store.entries(), root, [typed for typed in overrides() if typed.startswith("dir=")])


TASKS: dict[str, Callable[[DictConfig], None]] = {
    "train": _train,
    "lr_find": _lr_find,
    "rank": _rank,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "index": _index,
    "search": _search,
    "cache": _cache,
}
