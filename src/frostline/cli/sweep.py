"""Track the jobs of a running sweep: the folder of each, how it ended, and which did not run."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from frostline.cli.sweep_jobs import Jobs
from frostline.cli.sweep_place import within
from frostline.paths import remove_empty

MOST_NAMED = 20  # jobs listed as not run


def sweep_folder() -> Path | None:
    """The folder of the sweep, or None outside a sweep."""
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.get().mode == RunMode.MULTIRUN else None


def job_folder() -> Path | None:
    """The folder of the current job, or None outside a sweep. Raises ConfigError if it is not in the sweep's folder."""
    sweep = sweep_folder()
    return None if sweep is None else within(sweep, str(HydraConfig.get().sweep.subdir))


def overrides() -> list[str]:
    """The overrides as typed; in a sweep, those of the current job. Interpolations are not resolved."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]


class SweepFolder(Callback):
    """Hydra callback that puts `Jobs` in place of the sweeper before Hydra creates it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Jobs.stand_in()


class Board:
    """The leaderboard of a sweep, rewritten after each job."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._begun = 0
        self._runs: set[Path] = set()
        self._lost: list[tuple[str, list[str], BaseException]] = []
        self._failed: list[str] = []

    def begin(self) -> None:
        self._begun += 1
        print(f"\n[{HydraConfig.get().job.num}]  {' '.join(overrides())}", flush=True)

    def end(self, sweep: Path, error: BaseException | None) -> None:
        """Record the end of the current job. error: why it failed. A job that failed before its run began is listed
        too, and the empty folder that Hydra made for it is removed."""
        from frostline.report.leaderboard import runs_of, write_leaderboard

        subdir = str(HydraConfig.get().sweep.subdir)
        folder = sweep / subdir
        remove_empty([folder, *(path for path in folder.parents if sweep in path.parents)])
        runs = set(runs_of(sweep))
        if error is not None:
            self._failed.append(str(HydraConfig.get().job.num))
        if error is not None and runs == self._runs:
            self._lost.append((subdir, overrides(), error))
        self._runs = runs
        if self._lost or runs:
            self._path = write_leaderboard(sweep, self._lost)

    def print(self) -> None:
        if self._path is not None:
            from frostline.report.leaderboard import print_leaderboard

            print_leaderboard(self._path)
        if self._failed:
            number = f"{len(self._failed)} of {len(Jobs.all)} jobs failed"
            print(f"frostline: {number}, see above: {', '.join(self._failed)}", file=sys.stderr)

    def tell_left(self) -> None:
        """Print the jobs of a stopped sweep that did not run."""
        left = [f"{number}: {' '.join(job)}" for number, job in enumerate(Jobs.all[self._begun :], self._begun)]
        if left:
            more = f"\n  and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
            named = "\n  ".join(left[:MOST_NAMED])
            number = f"{len(left)} job{'s' * (len(left) > 1)} of the sweep"
            print(f"frostline: {number} did not run:\n  {named}{more}", file=sys.stderr)
