"""Run the jobs of a sweep as jobs of a cluster, by submitit. Each takes part in the sweep, as another machine would."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from frostline.errors import ConfigError, first_line, needs
from frostline.runs.sweeps import JOBS, Sweep
from frostline.sweeps.settings import Slurm
from frostline.sweeps.workers import PATIENCE, SHARE, joining

SUBMITTED = "slurm"  # folder of submitit's files, in that of the notes


class Submitted:
    """A job of the cluster, with what the sweep asks of a process. job: submitit's."""

    def __init__(self, job: Any) -> None:
        self._job = job
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code; 2 if the cluster ended it; None while it waits or runs."""
        if self.returncode is None and self._job.done():
            self.returncode = 2 if self._job.exception() is not None else int(self._job.result())
        return self.returncode


def runs(command: list[str]) -> int:
    """What a job does. Returns the exit code."""
    return subprocess.run(command, env={**os.environ, SHARE: SUBMITTED}, check=False).returncode


@contextmanager
def submitted(sweep: Sweep, settings: Slurm, arguments: Sequence[str]) -> Iterator[list[Submitted]]:
    """Yield the jobs; at the end, however it comes, they end too. Raises ConfigError if the cluster takes none."""
    with needs("submitit", "which submits jobs", where="launcher", extra="slurm", otherwise="launcher=local"):
        import submitit
    jobs: list[Any] = []
    try:
        try:
            executor = submitit.AutoExecutor(sweep.folder.absolute() / JOBS / SUBMITTED, cluster=settings.cluster)
            executor.update_parameters(name="frostline", **_wanted(settings))
            jobs += [executor.submit(runs, joining(sweep, arguments)) for _ in range(settings.workers)]
        except (RuntimeError, OSError, submitit.core.utils.FailedJobError) as error:
            raise ConfigError(
                f"the cluster takes no job: {first_line(error)}",
                where="launcher",
                next_step="start the sweep where sbatch works; or launcher=local",
            ) from error
        yield [Submitted(job) for job in jobs]
    finally:
        for job in jobs:
            if not job.done():
                job.cancel(check=False)
        end = time.monotonic() + PATIENCE
        while any(not job.done() for job in jobs) and time.monotonic() < end:
            time.sleep(0.1)


def _wanted(settings: Slurm) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "timeout_min": settings.minutes,
        "cpus_per_task": settings.cpus,
        "gpus_per_node": settings.gpus,
    }
    if settings.cluster == "slurm" and settings.partition is not None:
        wanted["slurm_partition"] = settings.partition
    if settings.cluster == "local":
        del wanted["gpus_per_node"]  # submitit would hide or refuse those of this machine
    return wanted
