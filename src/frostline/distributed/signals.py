"""End a command on a signal with the exit code of shells, one line of output, and no partly written file."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

GRACE = 30.0  # seconds: longer than a step of training takes
HEARD = threading.Event()  # set once the main thread has handled a signal
LOOKS = 1.0  # seconds between two looks at the parent
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """Raised by a signal; the exit code is 128 + its number, the convention of shells."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@contextmanager
def stoppable() -> Iterator[None]:
    """Make each signal in ENDING raise Stopped. Lightning leaves a handler that it finds in place, and without one ends
    with exit code 1 at Ctrl-C. A signal that was ignored before, such as SIGHUP under nohup, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        with last_resort():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent(grace: float = 0.0) -> None:
    """Send this process SIGTERM `grace` seconds after the process that started it has ended, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOKS)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _forget_wakeup() -> None:
    """Unset the wakeup fd in a forked process (a loader's worker), whose signals the parent's watcher must not see."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_wakeup)


@contextmanager
def last_resort(grace: float = GRACE) -> Iterator[None]:
    """End this process and its children if the main thread has not handled a signal within `grace` seconds: Python runs
    handlers between bytecodes, so a main thread that waits inside torch for a stopped rank never runs them."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    HEARD.clear()
    watcher = threading.Thread(target=_watch, args=(receiver, grace), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.shutdown(socket.SHUT_RDWR)  # forked processes hold copies of it, which a close would leave open
        sender.close()
        watcher.join(grace)


def _watch(receiver: socket.socket, grace: float) -> None:
    """receiver: yields one byte per delivered signal, its number, and b"" at the end."""
    with receiver:
        while numbers := receiver.recv(64):
            ending = [number for number in numbers if number in ENDING and signal.getsignal(number) is stop]
            if ending and not HEARD.wait(grace):
                name = signal.Signals(ending[0]).name
                print(
                    f"frostline: interrupted by {name}; another process of the run, or torch, did not answer for "
                    f"{grace:g} s",
                    file=sys.stderr,
                    flush=True,
                )
                _kill_children()
                os._exit(128 + ending[0])


def _kill_children() -> None:
    """Send SIGKILL to every child; Linux lists children per thread (proc(5))."""
    for listed in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended meanwhile
            for pid in listed.read_text().split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)


class Unfailing:
    """A stream whose write errors are ignored, so that a closed pipe (`| head`) or a full disk ends no training."""

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
            with suppress(OSError, AttributeError):  # so that flushing the buffer at exit does not fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unfailing_output() -> Iterator[None]:
    """Ignore write errors on stdout and stderr while a run or a sweep trains."""
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
    HEARD.set()
    raise Stopped(signum)


def tell_stopped(error: Stopped) -> None:
    print(f"frostline: interrupted by {signal.Signals(error.signum).name}", file=sys.stderr)
