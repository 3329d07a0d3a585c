"""Locks of what is kept, which say whom they wait for."""

import fcntl
import os
import sys
import time
from pathlib import Path

from frostline.distributed.launcher import follows

PAUSE = 0.02  # seconds between two tries
PATIENCE = 60.0  # seconds until the user is told: a region takes less, and a process that is stopped takes forever


def lock(handle: int, place: Path, *, wait: bool) -> bool:
    """For this process alone, until `handle` is closed. False where another process has it and is not waited for.
    place: that is locked, for the user who waits."""
    began, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not wait:
                return False
        if not told and not follows() and time.monotonic() - began > PATIENCE:
            told = True
            print(
                f"frostline: waiting for {_holder(handle)}, which is writing to the cache\n"
                f"  where: {place}\n"
                "  next:  wait; kill -CONT continues a stopped process; cache=never uses no cache",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(PAUSE)


def _holder(handle: int) -> str:
    """By the system's list of locks (proc(5)), where there is one."""
    inode = os.fstat(handle).st_ino
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        lines = []
    pids = [fields[4] for fields in lines if "->" not in fields and fields[5].rpartition(":")[2] == str(inode)]
    return f"process {pids[0]}" if pids and pids[0] != "0" else "another process"
