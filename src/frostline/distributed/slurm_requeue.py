"""Requeue a SLURM job shortly before its time limit, after the run has saved a checkpoint."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from frostline.distributed.signals import Stopped

TIME_IS_UP = signal.SIGUSR1  # requested by `sbatch --signal=USR1@<seconds before the end>`


@contextmanager
def requeued(*, asked: bool) -> Iterator[None]:
    """Ask SLURM to requeue this job if SIGUSR1 ended the enclosed code, after that code has written its files.

    asked: whether this process does so; exactly one process of a run does.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(TIME_IS_UP, _stop) if in_main else None
    try:
        yield
    except SystemExit as stop:
        if asked and stop.code == 128 + TIME_IS_UP:
            _requeue()
        raise
    finally:
        if in_main:
            signal.signal(TIME_IS_UP, before)


def _stop(signum: int, frame: Any) -> None:
    """Stop at once: this handler is active only outside of training, where no batch has to end first."""
    raise Stopped(signum)


def _requeue() -> None:
    job = os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
        message = f"job {job} is queued again, and continues when it starts"
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        message = f"SLURM did not queue job '{job}' again: {reason}\n  next:  submit it again; it continues"
    print(f"frostline: {message}", file=sys.stderr, flush=True)
