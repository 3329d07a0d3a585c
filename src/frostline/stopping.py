"""Signals that end a command: the exit code of shells, one line, nothing half-written."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

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


class Unfailing:
    """A stream that takes everything: what cannot be written any more (`| head`, a full disk) ends no training."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        self._tried(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, act: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            act()
        except OSError:
            self._gone = True
            with suppress(OSError, AttributeError):  # what waits in the stream is written to nowhere at the end
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unfailing_output() -> Iterator[None]:
    """Standard output and standard error, for as long as a run, or a sweep of them, trains."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", Unfailing(stream)) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def deaf() -> None:
    """Ignore further signals until `stoppable` ends."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def stop(signum: int, frame: Any) -> None:
    raise Stopped(signum)


def tell_stopped(error: Stopped) -> None:
    print(f"frostline: interrupted by {signal.Signals(error.signum).name}", file=sys.stderr)
