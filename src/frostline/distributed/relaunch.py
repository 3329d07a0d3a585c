"""Set the environment and command line with which Lightning launches the other ranks."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.distributed.launcher import LEADER

# Lightning sets these for the processes that it launches, and never unsets them.
LAUNCH = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
# Variables by which torchrun and SLURM tell a process that it is a rank.
OF_LAUNCHERS = re.compile(
    r"TORCHELASTIC_\w+|((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)"
    r"|SLURM_(NTASKS(_PER_NODE)?|NNODES|PROCID|LOCALID|NODEID)"
)


@contextmanager
def unlaunched() -> Iterator[None]:
    """Take the launcher's variables out of the environment: this process starts the ranks of its runs itself. They are
    back on exit, as torchrun's summary takes an error by one of them."""
    before = {name: os.environ.pop(name) for name in [*os.environ] if OF_LAUNCHERS.fullmatch(name)}
    try:
        yield
    finally:
        os.environ.update(before)


@contextmanager
def launched_anew() -> Iterator[None]:
    """Restore LAUNCH on exit: otherwise Lightning would assume that the next job of a sweep is already launched."""
    before = {name: os.environ[name] for name in LAUNCH if name in os.environ}
    try:
        yield
    finally:
        for name in LAUNCH:
            os.environ.pop(name, None)
        os.environ.update(before)


def launch_alike(command: str, overrides: list[str]) -> None:
    """Rewrite `sys.argv`, from which Lightning launches the other ranks, to name exactly this run (one of many in a
    sweep) and its folder, whose name contains the time."""
    os.environ[LEADER] = str(os.getpid())
    named = [] if Path(sys.argv[0]).name == "train.py" else [command]
    sys.argv[1:] = [*named, *config_dirs(), *overrides]


def config_folders() -> list[Path]:
    """The folders given by `--config-dir`."""
    return [Path(part.partition("=")[2] or part) for part in config_dirs() if "=" in part or not part.startswith("-")]


def config_dirs() -> list[str]:
    """The `--config-dir` arguments, with their values, as typed."""
    return [
        part
        for number, argument in enumerate(sys.argv)
        if argument.startswith(("--config-dir", "-cd"))
        for part in ([argument] if "=" in argument else sys.argv[number : number + 2])
    ]


def whole_config_dirs() -> list[str]:
    """The same with absolute paths, for use from any folder."""
    return [f"--config-dir={Path(folder).absolute()}" for folder in config_folders()]
