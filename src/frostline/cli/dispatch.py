"""Run each command with its composed config. Heavy imports happen inside the functions, after the checks."""

import os
import shlex
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from frostline.cli.help import RANKED_ON
from frostline.cli.importing import uncollected
from frostline.cli.job import overrides
from frostline.cli.rank_models import of_each_model
from frostline.cli.training import make_whole, names_itself, run_folder, train, trusting
from frostline.commands.checks import check
from frostline.commands.lr_find.range_test import NUMBERS, RangeTest
from frostline.distributed.launcher import follows, many
from frostline.distributed.relaunch import config_dirs, launch_alike
from frostline.errors import ConfigError, DataError, RunError, counted
from frostline.frozen.policy import kept_in
from frostline.paths import RANKING
from frostline.quoting import command_of
from frostline.runs.folder import opened, read_run
from frostline.runs.folders import require_writable
from frostline.runs.record import FILE as RECORD
from frostline.runs.record import Record
from frostline.runs.sweeps import FILE as SWEEP

MOST_FOLDERS = 10_000  # in which runs are looked for, about a second: the folder may be that of all files


def _lr_find(cfg: DictConfig) -> None:
    make_whole(cfg)
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
        with uncollected():
            from frostline.commands.lr_find.find import lr_find

        lr_find(cfg, test, folder, typed=typed, command=shlex.join(["frostline", "lr_find", *typed]))


@contextmanager
def _output_folder(cfg: DictConfig, key: str, holds: str) -> Iterator[Path]:
    """Yield the folder in which a command writes `holds` at its end. If its name is the start time, which two commands
    may share, it is created at once, and removed again if it stays empty."""
    folder = Path(OmegaConf.select(cfg, key))
    with run_folder(folder, named=not names_itself(cfg, key), setting=key, holds=holds) as own:
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
        with uncollected():
            from frostline.commands.rank.rank import rank

        rank(settings, folder, typed=[*config_dirs(), *overrides()], command=command)


def _evaluate(cfg: DictConfig) -> None:
    check(cfg, command="evaluate")
    record, settings = opened(Path(cfg.run), trains=False, trust=cfg.trust, again=trusting("evaluate"))
    launch_alike("evaluate", overrides())
    with uncollected():
        from frostline.commands.evaluate import evaluate

    evaluate(cfg, record, settings)


def _predict(cfg: DictConfig) -> None:
    check(cfg, command="predict")
    record, settings = _opened_alone(cfg, "predict", cfg.text)
    _require_input(cfg, "predict", cfg.text)
    with uncollected():
        from frostline.commands.predict import predict

    predict(cfg, record, settings)


def _explain(cfg: DictConfig) -> None:
    check(cfg, command="explain")
    record, settings = _opened_alone(cfg, "explain", cfg.text)
    _require_input(cfg, "explain", cfg.text)
    with uncollected():
        from frostline.commands.explain import explain

    explain(cfg, record, settings)


def _index(cfg: DictConfig) -> None:
    check(cfg, command="index")
    record, settings = _opened_alone(cfg, "index")
    _require_input(cfg, "index", None)
    with uncollected():
        from frostline.commands.neighbours.index import index

    index(cfg, record, settings)


def _search(cfg: DictConfig) -> None:
    check(cfg, command="search")
    record, settings = _opened_alone(cfg, "search", cfg.text)
    _require_input(cfg, "search", cfg.text)
    with uncollected():
        from frostline.commands.neighbours.search import search

    search(cfg, record, settings)


def _opened_alone(cfg: DictConfig, command: str, text: str | None = None) -> tuple[Record, DictConfig]:
    """Open the run of a command that takes one process. Raises ConfigError, RunError."""
    if many():
        raise ConfigError(f"{command} runs in one process", where="torchrun, srun", next_step="start it without them")
    return opened(Path(cfg.run), trains=False, trust=cfg.trust, again=trusting(command, text))


def _require_input(cfg: DictConfig, command: str, text: str | None) -> None:
    """Raise ConfigError unless there is one input, DataError if it does not exist."""
    for key, types in (("windows", bool), ("quotes", bool | None)):
        if not isinstance(cfg.data.get(key, False), types):
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
    with uncollected():
        from frostline.commands.export import export

    export(cfg, settings)


def _cache(cfg: DictConfig) -> None:
    check(cfg, command="cache")
    root = kept_in(cfg.dir)
    with uncollected():
        from frostline.report.kept import print_cleared, print_kept
        from frostline.storage.store import Store

    store = Store(root, 0)
    if cfg["clear"]:  # `cfg.clear` is a method of every mapping
        gone = store.clear()
        print_cleared(gone, store.entries())
    else:
        print_kept(store.entries(), root, [typed for typed in overrides() if typed.startswith("dir=")])


def _leaderboard(cfg: DictConfig) -> None:
    check(cfg, command="leaderboard")
    folder = Path(cfg.folder)
    with uncollected():
        from frostline.report.leaderboard import write_leaderboard
        from frostline.report.leaderboard_table import print_leaderboard
        from frostline.report.trials import runs_of
        from frostline.runs.sweeps import lost_of

    if not runs_of(folder) and not lost_of(folder):
        raise RunError(
            "there are no runs below this folder" if folder.is_dir() else "there is no such folder",
            where=folder,
            next_step="name the folder of a sweep, or one that holds runs, such as logs/runs",
        )
    if (folder / RECORD).is_file():
        raise ConfigError(
            "this folder is one run, and a leaderboard ranks several",
            where=folder,
            next_step=f"{command_of('report', run=folder)}; or {command_of('leaderboard', folder=folder.parent)}",
        )
    require_writable(folder, "folder")
    print_leaderboard(write_leaderboard(folder))


def _compare(cfg: DictConfig) -> None:
    check(cfg, command="compare")
    with uncollected():
        from frostline.commands.compare import compare

    compare(cfg)


def _report(cfg: DictConfig) -> None:
    check(cfg, command="report")
    if (Path(cfg.run) / SWEEP).is_file():
        _report_sweep(cfg)
        return
    if not (Path(cfg.run) / RECORD).is_file():
        _require_none_below(Path(cfg.run))
    with uncollected():
        from frostline.commands.page import wants_samples
        from frostline.commands.report import report

    record, settings = read_run(Path(cfg.run))
    require_writable(Path(cfg.run), "run")
    if wants_samples(cfg.pictures, settings):
        record, settings = opened(Path(cfg.run), trains=False, trust=cfg.trust, again=trusting("report"))
    report(Path(cfg.run), record, settings, cfg.pictures, cfg.saliency)


def _require_none_below(folder: Path) -> None:
    """Raise RunError, naming the newest one, if runs or sweeps lie below `folder`."""
    below, whole = _below(folder)
    for name, found in below.items():
        if found:
            newest = max(found)[1]
            kind = "sweep" if name == SWEEP else "run"
            number = f"{'' if whole else 'at least '}{counted(len(found), kind, f'{kind}s')}"
            raise RunError(
                f"this folder is neither a run nor a sweep, but holds {number}",
                where=folder,
                next_step=f"{command_of('report', run=newest)}  # the newest {kind}; "
                f"or {command_of('leaderboard', folder=folder)}  # ranks all runs below it",
            )


def _below(folder: Path) -> tuple[dict[str, list[tuple[float, Path]]], bool]:
    """Time and folder of each sweep and of each run outside sweeps, by the name of its file; and whether all folders
    were read: the nearest MOST_FOLDERS at most. What is removed meanwhile, or cannot be read, is left out."""
    found: dict[str, list[tuple[float, Path]]] = {SWEEP: [], RECORD: []}
    left, read = deque([folder]), 0
    while left and read < MOST_FOLDERS:
        here, read = left.popleft(), read + 1
        for name, known in found.items():
            with suppress(OSError):
                known.append(((here / name).stat().st_mtime, here))
                break
        else:
            with suppress(OSError), os.scandir(here) as entries:
                left.extend(Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False))
    return found, not left


def _report_sweep(cfg: DictConfig) -> None:
    require_writable(Path(cfg.run), "run")
    with uncollected():
        from frostline.commands.sweep_page import report_sweep

    report_sweep(Path(cfg.run))


TASKS: dict[str, Callable[[DictConfig], None]] = {
    "train": train,
    "lr_find": _lr_find,
    "rank": _rank,
    "evaluate": _evaluate,
    "predict": _predict,
    "explain": _explain,
    "export": _export,
    "index": _index,
    "search": _search,
    "leaderboard": _leaderboard,
    "compare": _compare,
    "report": _report,
    "cache": _cache,
}
