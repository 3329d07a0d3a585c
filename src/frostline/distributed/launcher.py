"""What started this process: torchrun and SLURM start the processes of a run from outside, Lightning does it itself."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from frostline.errors import ConfigError, first_line

# SLURM's job names under which Lightning starts processes itself (lightning.fabric.plugins.environments.slurm).
INTERACTIVE = ("bash", "interactive")
SLURM = ("SLURM", "SLURM_NTASKS")
RANKS = ("RANK", "LOCAL_RANK")
LEADER = "FROSTLINE_LEADER"  # the process that starts others of its run, through Lightning
# Variables of those who start processes on several hosts: Lightning itself needs the first, LSF sets the second.
PLACED = {"MASTER_ADDR", "LSB_JOBID"}


class Launch(NamedTuple):
    """devices: processes on each host, as Lightning's Trainer calls them; num_nodes: hosts. even: whether it is certain
    that each host has as many. stale: whether processes that are started again meet over a store that still holds the
    addresses of those before them.
    """

    by: Literal["torchrun", "SLURM"]
    rank: int
    devices: int
    num_nodes: int
    even: bool
    stale: bool = False


def launched() -> Launch | None:
    """None where nobody did, or Lightning. In a job of SLURM that uses torchrun, torchrun did.

    Raises ConfigError where a variable that the starter sets is missing, or is no number.
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


def _launched(said: Mapping[str, str]) -> Launch | None:
    if "TORCHELASTIC_RUN_ID" in said:
        world_size, devices, num_nodes = (int(said[f"{of}WORLD_SIZE"]) for of in ("", "LOCAL_", "GROUP_"))
        stale = said.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and said.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        return Launch("torchrun", int(said["RANK"]), devices, num_nodes, devices * num_nodes == world_size, stale)
    if "SLURM_NTASKS" in said and said.get("SLURM_JOB_NAME") not in INTERACTIVE:
        tasks, num_nodes = int(said["SLURM_NTASKS"]), int(said.get("SLURM_NNODES", "1"))
        rank, even = int(said.get("SLURM_PROCID", "0")), tasks == 1 or "SLURM_NTASKS_PER_NODE" in said
        return Launch("SLURM", rank, max(1, tasks // num_nodes), num_nodes, even)
    return None


def many() -> bool:
    """Whether several processes read the command line of one run, now or when torchrun starts them again."""
    launch = launched()
    return launch is not None and (launch.by == "torchrun" or launch.devices * launch.num_nodes > 1)


def follows() -> bool:
    """Whether another process leads this run."""
    launch = launched()
    if launch is not None:
        return launch.rank != 0  # of torchrun in a job of SLURM, SLURM's number says nothing
    return any(os.environ.get(name, "0") not in ("", "0") for name in (*RANKS, "NODE_RANK"))


def require_starter() -> None:
    """Raises ConfigError where this process takes itself for one of several, and nobody started it as one."""
    left = [name for name in RANKS if os.environ.get(name, "0") not in ("", "0")]
    if left and launched() is None and os.environ.get(LEADER) != str(os.getppid()):
        raise ConfigError(
            f"{left[0]}={os.environ[left[0]]} is set in this shell, as if another process were rank 0",
            where="environment",
            next_step=f"unset {' '.join(left)}",
        )


def tell_torchrun(said: str) -> bool:
    """Into its summary of what failed, which otherwise holds the exit code alone. False where torchrun did not ask."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        return False
    details = {"py_callstack": said, "timestamp": str(int(time.time()))}
    Path(path).write_text(json.dumps({"message": {"message": said, "extraInfo": details}}), encoding="utf-8")
    return True
