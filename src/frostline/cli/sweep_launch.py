"""Start a sweep with torchrun. Rank 0 runs it and starts the ranks of each run itself, as `trainer.devices=N -m` does
without torchrun; the other processes of torchrun end at once."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from frostline.cli.sweep_arguments import taking_up
from frostline.cli.sweep_resuming import IN, LAUNCHER
from frostline.distributed.launcher import Launch, launched, many
from frostline.errors import ConfigError
from frostline.quoting import hydra_quoted, key_of
from frostline.runs.sweeps import FILE

DEVICES = "trainer.devices"
AUTO = ("auto", "-1")
TIME = "${now:"
THREADS = "OMP_NUM_THREADS"


def launch_of_sweep() -> Launch | None:
    """How several processes got the command line of a sweep; None for a single process."""
    return launched() if many() else None


def arguments_of_rank_0(launch: Launch, arguments: Sequence[str]) -> list[str]:
    """The arguments with which rank 0 runs the sweep. Raises ConfigError if it cannot run from these processes."""
    _require_one_host(launch)
    typed = {key_of(it): it.partition("=")[2] for it in arguments}
    if typed.get(LAUNCHER, "alone") != "alone":
        raise ConfigError(
            f"{LAUNCHER}={typed[LAUNCHER]} starts processes of its own, and torchrun has started {launch.devices}",
            where=LAUNCHER,
            next_step=f"start the sweep without torchrun; or leave {LAUNCHER} out",
        )
    if taking_up(arguments):
        _tell(f"rank 0 of torchrun takes part, with the {DEVICES} of the sweep")
        return [*arguments]
    if launch.restarts:
        _require_folder(typed.get(IN))
    others = [it for it in arguments if key_of(it) != DEVICES or typed[DEVICES] not in AUTO]
    devices = typed.get(DEVICES, "auto")
    if devices in AUTO:
        devices = str(launch.devices)
        others.append(f"{DEVICES}={devices}")
    _tell(f"rank 0 of torchrun runs the sweep, each run with {DEVICES}={devices}")
    folder = Path(typed.get(IN, "").strip("'\""))
    if launch.restarts and (folder / FILE).is_file():  # after a restart, or given again
        others.append(f"sweep.resume={hydra_quoted(str(folder))}")
    return others


def _tell(what: str) -> None:
    """Print what rank 0 does, and that the ranks of its runs inherit the single thread that torchrun gave it."""
    alone = os.environ.get(THREADS) == "1"
    more = f"; {THREADS}=1, which torchrun sets unless you do, gives each rank one thread" if alone else ""
    print(f"frostline: {what}{more}", file=sys.stderr)


def _require_one_host(launch: Launch) -> None:
    """Raise ConfigError unless torchrun started the processes, all of them on one host."""
    own = f"torchrun --standalone --nproc-per-node={launch.devices} -m frostline train -m ..."
    if launch.num_nodes > 1:
        raise ConfigError(
            f"a sweep begins on one host, but {launch.by} started this one on {launch.num_nodes}",
            where="-m",
            next_step=f"{own} hydra.sweep.dir=<folder>  # on one host; "
            "or frostline train sweep.join=<folder>  # on each other host that sees this folder",
        )
    if launch.by == "SLURM":  # which binds each task to its own cores and GPUs
        raise ConfigError(
            f"a sweep is one process, which starts those of its runs, but SLURM started {launch.devices}",
            where="-m",
            next_step=f"srun --ntasks=1 --cpus-per-task=<cores of all> {own}; or frostline train -m launcher=slurm ...",
        )


def _require_folder(folder: str | None) -> None:
    """Raise ConfigError if a restarted process could not find the sweep again."""
    if folder is None or TIME in folder:
        raise ConfigError(
            "a sweep that torchrun starts again needs the same folder, but the default contains the start time",
            where=IN,
            next_step=f"{IN}=<folder>; or no --max-restarts",
        )
