"""The jobs of a sweep: which there are, where they lie, and how each ended."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from frostline.errors import ConfigError, few
from frostline.paths import remove_empty
from frostline.record import FILE

WRITTEN_FIRST = "multirun.yaml"  # by Hydra, into the folder of a sweep
MOST_NAMED = 20  # jobs that did not run


def sweep_folder() -> Path | None:
    """The folder of the sweep that this is a job of."""
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.get().mode == RunMode.MULTIRUN else None


def require_own_folder(arguments: Sequence[str]) -> None:
    """Raises ConfigError where the folder that a user names for a sweep holds something else."""
    named = [argument.partition("=")[2] for argument in arguments if argument.startswith("hydra.sweep.dir=")]
    folder = Path(named[-1].strip("'\"")) if named and "$" not in named[-1] else None
    if folder is None or not folder.is_dir() or (folder / WRITTEN_FIRST).is_file():
        return
    if there := sorted(path.name for path in folder.iterdir()):
        raise ConfigError(
            f"the folder of the sweep holds something else: {few(there, 5)}",
            where=folder,
            next_step="hydra.sweep.dir=<a new or empty folder>",
        )


class Board:
    """The leaderboard of a sweep, written anew after each of its jobs."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._lost: list[tuple[str, list[str], BaseException]] = []
        self._failed: list[str] = []

    def add(self, sweep: Path, error: BaseException | None) -> None:
        """The job that is at its end. error: why it failed; one that failed before it had a folder is listed too, and
        the folder that Hydra made for it is removed."""
        from frostline.report.leaderboard import write_leaderboard

        folder = sweep / str(HydraConfig.get().sweep.subdir)
        remove_empty([folder])
        if error is not None:
            self._failed.append(str(HydraConfig.get().job.num))
        if error is not None and not folder.exists():
            self._lost.append((folder.name, overrides(), error))
        if self._lost or any(sweep.glob(f"*/{FILE}")):
            self._path = write_leaderboard(sweep, self._lost)

    def print(self) -> None:
        if self._path is not None:
            from frostline.report.leaderboard import print_leaderboard

            print_leaderboard(self._path)
        if self._failed:
            number = f"{len(self._failed)} of {len(SweepFolder.jobs)} jobs failed"
            print(f"frostline: {number}, as said above: {', '.join(self._failed)}", file=sys.stderr)

    def tell_left(self) -> None:
        """Of a sweep that was stopped: which jobs did not run."""
        begun = HydraConfig.get().job.num + 1
        left = [f"{number}: {' '.join(job)}" for number, job in enumerate(SweepFolder.jobs[begun:], begun)]
        if left:
            more = f"\n  and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
            named = "\n  ".join(left[:MOST_NAMED])
            print(f"frostline: {len(left)} jobs of the sweep did not run:\n  {named}{more}", file=sys.stderr)


def overrides() -> list[str]:
    """As typed; of a sweep's job, its own. `${...}` stays as it is."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]


class SweepFolder(Callback):
    """Knows where Hydra puts a sweep: one that cannot begin leaves nothing. Hydra writes there before it composes. And
    which jobs the sweep has."""

    folder: Path | None = None
    jobs: ClassVar[list[list[str]]] = []

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        SweepFolder.folder = Path(config.hydra.sweep.dir)
        params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
        parsed = OverridesParser.create().parse_overrides([*params, *map(str, config.hydra.overrides.task)])
        (SweepFolder.jobs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)

    @staticmethod
    def forget() -> None:
        SweepFolder.folder, SweepFolder.jobs = None, []

    @staticmethod
    def remove_unbegun() -> None:
        folder, SweepFolder.folder = SweepFolder.folder, None
        if folder is not None and {path.name for path in folder.glob("*")} <= {WRITTEN_FIRST}:
            (folder / WRITTEN_FIRST).unlink(missing_ok=True)
            remove_empty([folder, *folder.parents[:3]])  # of logs/sweeps/<date>/<time>
