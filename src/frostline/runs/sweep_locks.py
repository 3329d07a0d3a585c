"""Locks of a sweep's folder. All are POSIX record locks: the system releases them however the process ends, also on
network file systems, and children do not inherit them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock in this context. Yields False if another process holds it and `wait` is False."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _locks(handle, fcntl.LOCK_EX, wait=wait)
    finally:
        os.close(handle)


class Presence:
    """A process that takes part in a sweep, from `enter` until `leave`. path: of the lock that they share."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def enter(self, *, alone: bool) -> bool:
        """alone: whether no other process may take part at this moment. Returns False if one does."""
        if alone and not self.is_alone():
            return False
        return _locks(self._handle, fcntl.LOCK_SH, wait=True)

    def is_alone(self) -> bool:
        """Whether no other process takes part. Afterwards none can enter until this one enters or leaves."""
        return _locks(self._handle, fcntl.LOCK_EX, wait=False)

    def leave(self) -> None:
        os.close(self._handle)


def _locks(handle: int, kind: int, *, wait: bool) -> bool:
    try:
        fcntl.lockf(handle, kind | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, by POSIX
        return False
    return True
