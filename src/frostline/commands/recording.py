"""Record how a run ends, however it ends."""

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from frostline.distributed.signals import Stopped, deaf
from frostline.errors import Pruned, RankError
from frostline.quoting import command_of, with_program
from frostline.runs.record import Record


@contextmanager
def recorded(record: Record, folder: Path, trainer: L.Trainer) -> Iterator[None]:
    """Write run.json at the start, and at the end with the outcome, however the run ends."""
    write = record.write if trainer.is_global_zero else lambda _: None
    record.status, record.error = "running", None
    write(folder)
    try:
        with others_stopped(trainer):
            yield
        record.status = "finished"
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns the first into the second
        deaf()  # the rest takes a moment and must not be interrupted
        by = signal.Signals(stop.signum if isinstance(stop, Stopped) else signal.SIGINT)
        record.status, record.error = "interrupted", {"type": by.name, "message": "stopped by a signal"}
        if trainer.is_global_zero:
            again = command_of("train", *record.trusting(trains=True), resume=folder)
            print(with_program(f"frostline: interrupted by {by.name}\n  next:  {again}"), file=sys.stderr)
        sys.exit(128 + by)
    except Pruned as pruned:
        record.status, record.error = "pruned", {"type": "Pruned", "message": str(pruned)}
        raise
    except BaseException as error:
        record.status, record.error = "failed", {"type": type(error).__name__, "message": str(error)}
        raise
    finally:
        record.peak_memory_bytes = _peak_memory(trainer)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.close()  # its thread would outlive every run of a sweep
        try:
            write(folder)
        except OSError:
            if record.status == "finished":
                raise  # else keep the error that is already being raised, which says more


@contextmanager
def others_stopped(trainer: L.Trainer) -> Iterator[None]:
    """Kill the ranks that this process launched if a signal, or the loss of one of them, ends it."""
    try:
        yield
    except Stopped as stopped:
        if (launcher := trainer.strategy.launcher) is not None:
            launcher.kill(signal.Signals(stopped.signum))
        raise
    except RankError:  # a stopped rank would stay forever
        if (launcher := trainer.strategy.launcher) is not None:
            launcher.kill(signal.SIGKILL)
        raise


def _peak_memory(trainer: L.Trainer) -> int:
    if trainer.strategy.root_device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
