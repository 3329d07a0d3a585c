"""Signals that end a command: the exit code of shells, one line, nothing half-written."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """By a signal; the exit code is 128 + its number, as shells have it."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@contextmanager
def stoppable() -> Iterator[None]:
    """Each of ENDING raises Stopped, wherever the command is at work. Libraries that handle one themselves leave a
    handler that they find (Lightning), or end with another exit code (at Ctrl-C, Lightning with 1). A signal that was
    ignored before, as nohup does with SIGHUP, stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deaf() -> None:
    """From here to the end of `stoppable`, no signal ends anything."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def stop(signum: int, frame: Any) -> None:
    raise Stopped(signum)


def tell_stopped(error: Stopped) -> None:
    print(f"frostline: interrupted by {signal.Signals(error.signum).name}", file=sys.stderr)
