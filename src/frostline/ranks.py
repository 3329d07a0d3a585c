"""Several processes of one run: which of them this is, and what the others are started with."""

import os
import sys
from pathlib import Path


def follows() -> bool:
    """Whether another process leads this run: as torchrun, SLURM and Lightning tell their processes."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def launch_alike(command: str, overrides: list[str]) -> None:
    """Lightning starts the other ranks with this process's command line: make it say this very run, which in a sweep
    is one of many, and its folder, whose name holds the time."""
    named = [] if Path(sys.argv[0]).name == "train.py" else [command]
    sys.argv[1:] = [*named, *config_dirs(), *overrides]


def config_dirs() -> list[str]:
    """The part of the command line that adds folders of options."""
    return [
        part
        for number, argument in enumerate(sys.argv)
        if argument.startswith(("--config-dir", "-cd"))
        for part in ([argument] if "=" in argument else sys.argv[number : number + 2])
    ]
