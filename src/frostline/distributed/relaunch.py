"""Several processes of one run: what Lightning starts the others with."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.distributed.launcher import LEADER

# What Lightning sets for the processes that it starts, and keeps.
LAUNCH = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


@contextmanager
def launched_anew() -> Iterator[None]:
    """The next job of a sweep starts processes of its own: to Lightning it must not look as if others had done that."""
    before = {name: os.environ[name] for name in LAUNCH if name in os.environ}
    try:
        yield
    finally:
        for name in LAUNCH:
            os.environ.pop(name, None)
        os.environ.update(before)


def launch_alike(command: str, overrides: list[str]) -> None:
    """Lightning starts the other ranks with this process's command line: make it say this very run, which in a sweep
    is one of many, and its folder, whose name holds the time."""
    os.environ[LEADER] = str(os.getpid())
    named = [] if Path(sys.argv[0]).name == "train.py" else [command]
    sys.argv[1:] = [*named, *config_dirs(), *overrides]


def config_folders() -> list[Path]:
    """The folders of options that the command line adds."""
    return [Path(part.partition("=")[2] or part) for part in config_dirs() if "=" in part or not part.startswith("-")]


def config_dirs() -> list[str]:
    """The part of the command line that adds folders of options."""
    return [
        part
        for number, argument in enumerate(sys.argv)
        if argument.startswith(("--config-dir", "-cd"))
        for part in ([argument] if "=" in argument else sys.argv[number : number + 2])
    ]
