"""Run the jobs of a sweep in several processes of this machine, each on its own devices and cores."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from frostline.distributed.signals import end_with_parent
from frostline.errors import RunError, few, steps_in
from frostline.quoting import hydra_quoted
from frostline.runs.sweeps import JOBS, Sweep
from frostline.sweeps.progress import Progress

SHARE = "FROSTLINE_WORKER"  # `<number> of <workers>` in the environment of a worker
Thing = TypeVar("Thing")
FULL_ERROR = "HYDRA_FULL_ERROR"
PROGRAM = "frostline"  # the module that a worker runs
LOGS = ("worker-*.log", "slurm/*_log.err", "slurm/*_log.out")  # of workers, and of jobs of a cluster
VISIBLE = "CUDA_VISIBLE_DEVICES"
MOST_ATTEMPTS = 3  # a job is given up after this many deaths of its process, as it would kill every worker in turn
LOOKS = 1.0  # seconds between two looks at the workers
PATIENCE = 60.0  # seconds in which a worker that was told to stop may save


class Worker(Protocol):
    """What is asked of a worker: a process, or a job of a cluster."""

    returncode: int | None

    def poll(self) -> int | None: ...


def devices(environment: dict[str, str], folder: Path = Path("/dev")) -> list[str]:
    """The GPUs that this process may use, as CUDA names them. torch, which could tell, is imported by workers only."""
    if VISIBLE in environment:
        return [name for name in environment[VISIBLE].split(",") if name.strip()]
    return sorted((path.name.removeprefix("nvidia") for path in folder.glob("nvidia[0-9]*")), key=int)


def shares(workers: int, devices: Sequence[str], cores: Sequence[int]) -> list[tuple[list[str], list[int]]]:
    """Devices and cores of each worker. Several workers share one where there are fewer of them."""
    return [(_share(devices, workers, number), _share(cores, workers, number)) for number in range(workers)]


def _share(things: Sequence[Thing], workers: int, number: int) -> list[Thing]:
    if len(things) <= workers:
        return [things[number % len(things)]] if things else []
    return [*things[number * len(things) // workers : (number + 1) * len(things) // workers]]


def cores() -> list[int]:
    """The cores that this process may use; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def default_workers() -> int:
    """One per GPU; without a GPU, one per two cores."""
    return len(devices(dict(os.environ))) or max(1, len(cores()) // 2)


def is_worker() -> bool:
    return SHARE in os.environ


def begin_worker() -> None:
    """Pin this process to its cores, and end it with the process that started it. A cluster does both itself."""
    number, of, workers = os.environ[SHARE].partition(" of ")
    if not of:
        return
    if own := shares(int(workers), [], cores())[int(number)][1]:
        os.sched_setaffinity(0, own)
    end_with_parent()


def give_up(sweep: Sweep, number: int) -> bool:
    """Record a job whose process died several times as failed. Returns False for any other job."""
    note = sweep.note(number)
    if note is None or note.again or note.attempts - note.stopped < MOST_ATTEMPTS:
        return False
    logs = f"read the ends of the logs in {sweep.folder / JOBS}; or {sweep.again()} sweep.retry=true"
    failure = RunError(f"its process died {note.attempts - note.stopped} times", next_step=logs)
    note.error, note.kind, note.steps = failure.what, type(failure).__name__, steps_in(str(failure))
    record = sweep.record(number)
    if record is not None:
        record.status, record.error = "failed", {"type": "RunError", "message": note.error}
        record.write(sweep.folder / note.run)
    sweep.write_note(number, note)
    return True


def run(sweep: Sweep, starting: AbstractContextManager[Sequence[Worker]], workers: int, total: int) -> None:
    """Wait until the workers have run all jobs, and print how far they are. starting: starts them. total: jobs of the
    sweep. Raises RunError if every worker died."""
    progress, told = Progress(sweep, total, workers), ""
    with starting as processes:
        while any(process.poll() is None for process in processes):
            time.sleep(LOOKS / 5 if not told else LOOKS)
            line = progress.line()
            if line.partition("; about")[0] != told:
                told = line.partition("; about")[0]
                print(f"sweep  {line}", flush=True)
        codes = [process.poll() for process in processes]
    if all(code not in (0, 1) for code in codes):
        raise RunError(
            "every worker ended before all jobs were done",
            where=next(iter(logs_in(sweep.folder)), sweep.folder / JOBS),
            next_step=f"read the end of that file; or {sweep.again()}",
        )


def require_done(sweep: Sweep, trials: int) -> None:
    """Raises RunError if the workers ended, but not all jobs. trials: of a search, how many have not ended."""
    open_ones = [str(it) for it in range(len(sweep.jobs)) if sweep.state(it) == "open" or sweep.note(it) is None]
    if open_ones or trials:
        raise RunError(
            f"the workers ended before {f'{trials} trials' if trials else f'jobs {few(open_ones, 10)}'} had run",
            where=next(iter(logs_in(sweep.folder)), sweep.folder / JOBS),
            next_step=f"read the end of that file, and of those beside it; or {sweep.again()}",
        )


def log_of(sweep: Sweep, number: int) -> Path:
    return sweep.folder / JOBS / f"worker-{number}.log"


def logs_in(sweep: Path) -> list[Path]:
    """The logs of workers, and of the jobs of a cluster. sweep: its folder."""
    return [log for logs in LOGS for log in sorted((sweep / JOBS).glob(logs))]


def joining(sweep: Sweep, arguments: Sequence[str]) -> list[str]:
    """The command of a worker. arguments: more of them, such as --config-dir."""
    joins = [*arguments, f"sweep.join={hydra_quoted(str(sweep.folder.absolute()))}", "launcher=alone"]
    return [sys.executable, "-m", PROGRAM, "train", *joins]


@contextmanager
def started(sweep: Sweep, workers: int, arguments: Sequence[str]) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Yield the workers; at the end, however it comes, they end too."""
    processes: list[subprocess.Popen[bytes]] = []
    command = joining(sweep, arguments)
    try:
        for number, (own, _) in enumerate(shares(workers, devices(dict(os.environ)), [])):
            environment = {**os.environ, SHARE: f"{number} of {workers}"} | ({VISIBLE: ",".join(own)} if own else {})
            environment.pop(FULL_ERROR, None)  # set around Hydra's code in this process
            with log_of(sweep, number).open("ab") as log:
                files = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
                processes.append(subprocess.Popen(command, env=environment, **files))  # type: ignore[call-overload]
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
