"""Detect what started this process: torchrun, SLURM, or Lightning, which launches the other ranks itself."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from frostline.errors import ConfigError, first_line

# SLURM job names under which Lightning launches the ranks itself (lightning.fabric.plugins.environments.slurm).
INTERACTIVE = ("bash", "interactive")
SLURM = ("SLURM", "SLURM_NTASKS")
RANKS = ("RANK", "LOCAL_RANK")
LEADER = "FROSTLINE_LEADER"  # process id of the rank that launches the others through Lightning
# Set by launchers that span several hosts: Lightning's own needs the first variable, LSF sets the second.
PLACED = {"MASTER_ADDR", "LSB_JOBID"}


class Launch(NamedTuple):
    """How a launcher started this process. devices: processes per host, as in Lightning's Trainer; num_nodes: hosts.
    even: whether every host is known to run the same number. restarts: whether torchrun starts lost processes again.
    stale: whether these rendezvous over a store that still holds the addresses of their predecessors.
    """

    by: Literal["torchrun", "SLURM"]
    rank: int
    devices: int
    num_nodes: int
    even: bool
    restarts: bool = False
    stale: bool = False


def launched() -> Launch | None:
    """Read the launcher's environment variables; None for a single process or Lightning's own launch. torchrun takes
    precedence over the SLURM job it runs in.

    Raises ConfigError if one of these variables is missing or is not a number.
    """
    try:
        return _launched(os.environ)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        by, key = ("torchrun", "TORCHELASTIC_RUN_ID") if "TORCHELASTIC_RUN_ID" in os.environ else SLURM
        what = f"{error.args[0]} is not set" if isinstance(error, KeyError) else first_line(error)
        raise ConfigError(
            f"variables of {by} are set in this shell, but not all of them: {what}",
            where="environment",
            next_step=f"unset {key}",
        ) from error


def _launched(environment: Mapping[str, str]) -> Launch | None:
    if "TORCHELASTIC_RUN_ID" in environment:
        world_size, devices, num_nodes = (int(environment[f"{of}WORLD_SIZE"]) for of in ("", "LOCAL_", "GROUP_"))
        restarts = environment.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        stale = restarts and environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        even = devices * num_nodes == world_size
        return Launch("torchrun", int(environment["RANK"]), devices, num_nodes, even, restarts, stale)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in INTERACTIVE:
        tasks, num_nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", "1"))
        rank, even = int(environment.get("SLURM_PROCID", "0")), tasks == 1 or "SLURM_NTASKS_PER_NODE" in environment
        return Launch("SLURM", rank, max(1, tasks // num_nodes), num_nodes, even)
    return None


def many() -> bool:
    """Whether several processes read the command line of one run, now or after a restart by torchrun."""
    launch = launched()
    return launch is not None and (launch.by == "torchrun" or launch.devices * launch.num_nodes > 1)


def follows() -> bool:
    """Whether this process is not rank 0 of its run."""
    launch = launched()
    if launch is not None:
        return launch.rank != 0  # under torchrun in a SLURM job, SLURM_PROCID is not the rank
    return any(os.environ.get(name, "0") not in ("", "0") for name in (*RANKS, "NODE_RANK"))


def was_started() -> bool:
    """Whether rank 0 started this process as another rank of its run."""
    return launched() is None and follows() and os.environ.get(LEADER) == str(os.getppid())


def require_starter() -> None:
    """Raise ConfigError if variables mark this process as a rank above 0, but no launcher started it."""
    left = [name for name in RANKS if os.environ.get(name, "0") not in ("", "0")]
    if left and launched() is None and os.environ.get(LEADER) != str(os.getppid()):
        raise ConfigError(
            f"{left[0]}={os.environ[left[0]]} is set in this shell, as if another process were rank 0",
            where="environment",
            next_step=f"unset {' '.join(left)}",
        )


def tell_torchrun(message: str) -> bool:
    """Add the message to torchrun's failure summary, which otherwise shows only the exit code. Returns False if
    torchrun set no error file."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path:
        return False
    details = {"py_callstack": message, "timestamp": str(int(time.time()))}
    Path(path).write_text(json.dumps({"message": {"message": message, "extraInfo": details}}), encoding="utf-8")
    return True
