"""The jobs of a sweep at work: where each lies, how each ended, and which did not run."""

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

MOST_NAMED = 20  # jobs that did not run


def sweep_folder() -> Path | None:
    """The folder of the sweep that this is a job of."""
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.get().mode == RunMode.MULTIRUN else None


def job_folder() -> Path | None:
    """Of this job of a sweep. Raises ConfigError if it does not lie in the folder of the sweep."""
    sweep = sweep_folder()
    return None if sweep is None else within(sweep, str(HydraConfig.get().sweep.subdir))


def overrides() -> list[str]:
    """As typed; of a sweep's job, its own. `${...}` stays as it is."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]


class SweepFolder(Callback):
    """Hydra makes it where a sweep starts, before it makes the sweeper."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Jobs.stand_in()


class Board:
    """The leaderboard of a sweep, written anew after each of its jobs."""

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
        """The job that is at its end. error: why it failed; one that failed before it had a folder is listed too, and
        the folder that Hydra made for it is removed."""
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
        """Of a sweep that was stopped: which jobs did not run."""
        left = [f"{number}: {' '.join(job)}" for number, job in enumerate(Jobs.all[self._begun :], self._begun)]
        if left:
            more = f"\n  and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
            named = "\n  ".join(left[:MOST_NAMED])
            number = f"{len(left)} job{'s' * (len(left) > 1)} of the sweep"
            print(f"frostline: {number} did not run:\n  {named}{more}", file=sys.stderr)
