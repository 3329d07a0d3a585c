"""File locks of the cache; a process that waits for one prints which process holds it."""

import fcntl
import os
import sys
import time
from pathlib import Path

from frostline.distributed.launcher import follows

PAUSE = 0.02  # seconds between two tries
PATIENCE = 60.0  # seconds until the message: a region takes less, a stopped process never finishes


def lock(handle: int, place: Path, *, wait: bool) -> bool:
    """Lock `handle` exclusively, until it is closed. Return False if another process holds the lock and `wait` is
    False. place: the locked path, for the message."""
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
    """The process that holds the lock, by /proc/locks (proc(5)) if it can be read."""
    inode = os.fstat(handle).st_ino
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        lines = []
    pids = [fields[4] for fields in lines if "->" not in fields and fields[5].rpartition(":")[2] == str(inode)]
    return f"process {pids[0]}" if pids and pids[0] != "0" else "another process"
