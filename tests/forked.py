"""Real processes without the seconds that each takes to import torch: a server that has imported what Frostline needs
forks one per request. The fork runs as a new interpreter would: with its own arguments, environment, folder, pipes and
exit code, and default signal handlers.

python forked.py <socket>: the server. It makes no tensor and starts no thread, and ends with its last client.
python forked.py as <arguments>: `python <arguments>`, for programs that start processes of their own (torchrun).
"""

import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PLACE = "FROSTLINE_TEST_SERVER"  # the folder of its socket
# Read when the interpreter or a library starts: a process for which one differs is not forked.
FRESH = {"FROSTLINE_TEST_FORK": "0"}  # in the environment of what needs an interpreter of its own
SOURCE = Path(__file__).resolve().parents[1] / "src"  # the server has imported Frostline from there
FIXED = ("PYTHONUNBUFFERED", "PYTHONWARNINGS", "PYTHONSAFEPATH", "PYTHONHASHSEED")
IMPORTED = (
    "torchvision", "torchmetrics", "lightning.pytorch", "tensorboard", "sklearn.datasets", "pyarrow.parquet",
    "torch.distributed.fsdp", "torch.utils.tensorboard", "rich.table", "hydra.main", "hydra.compose", "hydra.utils",
    "safetensors.torch", "torch.fx.experimental.optimization", "optuna.storages", "frostline.cli.main",
    "frostline.commands.train",
)  # fmt: skip


class Forked:
    """What subprocess.Popen offers, of a process that the server forked."""

    def __init__(self, arguments: list[str], cwd: Path | None, env: dict[str, str]) -> None:
        ends = [os.pipe(), os.pipe(), os.pipe()]
        theirs = [ends[0][0], ends[1][1], ends[2][1]]
        self._server = _connected()
        said = {"arguments": arguments, "cwd": str(cwd or Path.cwd()), "env": env}
        socket.send_fds(self._server, [(json.dumps(said) + "\n").encode()], theirs)
        for end in theirs:
            os.close(end)
        self.stdin, self.stdout, self.stderr = (
            open(ends[0][1], "w"), open(ends[1][0]), open(ends[2][0])  # noqa: PTH123, SIM115
        )  # fmt: skip
        self._said = self._server.makefile()
        self.pid = int(self._said.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._code(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return code

    def _code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], timeout)[0]:
            self.returncode = int(self._said.readline())
            self._said.close()
            self._server.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        read: dict[str, str] = {}
        pipes = {"out": self.stdout, "err": self.stderr}
        readers = [
            threading.Thread(target=lambda n=name, p=pipe: read.update({n: p.read()}), daemon=True)
            for name, pipe in pipes.items()
            if not pipe.closed
        ]
        with suppress(BrokenPipeError):
            self.stdin.close()
        for reader in readers:
            reader.start()
        end = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        self.wait(None if end is None else max(1.0, end - time.monotonic()))
        self.stdout.close()
        self.stderr.close()
        return read.get("out", ""), read.get("err", "")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(15)

    def kill(self) -> None:
        self.send_signal(9)


def started(*arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Any:
    """`python <arguments>` as a process with three pipes of text: a script, `-m` and a module, or `-c` and code. Forked
    where that makes no difference, with an interpreter of its own elsewhere, and wherever FROSTLINE_TEST_FORK=0. It
    leads a session and a process group of its own, of the number `pid`."""
    env = dict(os.environ) if env is None else env
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST")}
    same = env.get("OMP_NUM_THREADS") == "1" and all(env.get(name) == os.environ.get(name) for name in FIXED)
    same = same and not any((Path(it) / "frostline").is_dir() for it in _paths(env) if Path(it) != SOURCE)
    if same and sys.platform == "linux" and env.get("FROSTLINE_TEST_FORK") != "0":
        return Forked([*arguments], cwd, env)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=cwd, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True,
        start_new_session=True,
        # A shell starts its background jobs with SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip


def _paths(env: dict[str, str]) -> list[str]:
    return [it for it in env.get("PYTHONPATH", "").split(os.pathsep) if it]


def ran(*arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 900) -> Any:
    """What subprocess.run gives, of `started`."""
    process = started(*arguments, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess([*arguments], process.returncode, out, err)


def ran_as_ranks(
    world_size: int, port: int, *arguments: str, cwd: Path | None = None, timeout: float = 900
) -> list[str]:
    """What each rank of `python <arguments>` printed on stdout, all of which end well, started as torchrun does."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests"}
    shared |= {"OMP_NUM_THREADS": "1", "WORLD_SIZE": str(world_size), "LOCAL_WORLD_SIZE": str(world_size)}
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    shared |= {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    ranks = [{name: str(rank) for name in ("RANK", "LOCAL_RANK", "ROLE_RANK")} for rank in range(world_size)]
    processes = [started(*arguments, cwd=cwd, env={**os.environ, **shared, **rank}) for rank in ranks]
    end = time.monotonic() + timeout
    while any(process.poll() is None for process in processes) and not any(process.poll() for process in processes):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    lost = [process.poll() for process in processes]
    for process in processes:
        process.kill()  # one that is left would wait for the one that failed
    said = [process.communicate() for process in processes]
    assert lost == [0] * world_size, "\n".join(out + err for out, err in said)
    return [out for out, _ in said]


def stand_in(*arguments: str) -> list[str]:
    """The command of a process that has its pipes, environment and folder taken over by a fork of the server."""
    return [sys.executable, __file__, "as", *arguments]


def _stand_in(arguments: list[str]) -> int:
    """The exit code of the fork."""
    server = _connected()
    said = {"arguments": arguments, "cwd": os.getcwd(), "env": dict(os.environ)}  # noqa: PTH109
    socket.send_fds(server, [(json.dumps(said) + "\n").encode()], [0, 1, 2])
    with server.makefile() as answer:
        fork = int(answer.readline())
        signal.signal(signal.SIGTERM, lambda number, _: os.kill(fork, number))
        return int(answer.readline())


# --- the way to the server ---


def prepare() -> None:
    """Once per session, before its workers start: where the server of them all will listen."""
    if PLACE not in os.environ:
        os.environ[PLACE] = tempfile.mkdtemp(prefix="forked-")
        _OWN.append(os.environ[PLACE])


_OWN: list[str] = []  # the folder, in the process that made it


@cache
def _held() -> tuple[str, socket.socket]:
    """Where the server listens, and a connection that keeps it running as long as this process runs."""
    prepare()
    place = Path(os.environ[PLACE])
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = _hold(place / "socket") or _start(place / "socket")
    return str(place / "socket"), held


def _hold(place: Path) -> socket.socket | None:
    held = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        held.connect(str(place))
        held.sendall(b"hold\n")
        if held.recv(1):
            return held
    held.close()
    return None


def _start(place: Path) -> socket.socket:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, str(place)]
    answer = subprocess.run(
        command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    held = _hold(place)
    assert held is not None
    return held


def leave() -> None:
    """At the end of the session of this process."""
    if _held.cache_info().currsize:
        _held()[1].close()
        _held.cache_clear()
    while _OWN:
        shutil.rmtree(_OWN.pop(), ignore_errors=True)
        del os.environ[PLACE]


def _connected() -> socket.socket:
    place, _ = _held()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(place)
    return connection


# --- the server ---


def _serve(place: Path) -> dict[str, Any]:
    """Returns in each fork, with what is asked of it; the server itself exits with its last client."""
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the forks
    if os.fork() != 0:
        os._exit(0)  # whoever started it knows that it listens
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    held: list[socket.socket] = []
    while True:
        readable, _, _ = select.select([listener, *held], [], [])
        for connection in readable:
            if connection is not listener:
                held.remove(connection)
                connection.close()
                if not held:
                    os._exit(0)
                continue
            asked, _ = listener.accept()
            words, ends, _, _ = socket.recv_fds(asked, 1 << 20, 3)
            while words and not words.endswith(b"\n"):
                words += asked.recv(1 << 20)
            if words == b"hold\n":
                asked.sendall(b"+")
                held.append(asked)
                continue
            if words and os.fork() == 0:
                for other in (listener, *held):
                    other.close()
                if _forked(asked, ends):
                    request: dict[str, Any] = json.loads(words)
                    return request
            for end in ends:
                os.close(end)
            asked.close()


def _forked(asked: socket.socket, ends: list[int]) -> bool:
    """True in the fork; the process between it and the server sends its number and its exit code, and ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    for number, end in enumerate(ends):
        if child == 0:
            os.dup2(end, number)
        os.close(end)
    if child == 0:
        asked.close()
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return True
    for number in range(3):
        os.close(number)
    with suppress(OSError):
        asked.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(arguments: list[str], cwd: str, env: dict[str, str]) -> None:
    """The path and the arguments of `python <arguments>` in that folder."""
    own = {str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    kind, rest = (arguments[0], arguments[1:]) if arguments[0] in ("-c", "-m") else ("", arguments)
    first = {"-c": "", "-m": cwd, "": str(Path(rest[0]).resolve().parent)}[kind]
    given = [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [first, *given, *(entry for entry in sys.path if entry not in own)]
    sys.orig_argv[:] = [sys.executable, *arguments]
    sys.argv[:] = ["-c", *rest[1:]] if kind == "-c" else rest


def _execute(kind: str, what: str) -> None:
    if kind == "-c":
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    elif kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(what, run_name="__main__")


if __name__ == "__main__" and sys.argv[1] == "as":
    sys.exit(_stand_in(sys.argv[2:]))
if __name__ == "__main__":
    gc.disable()
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()
    asked = _serve(Path(sys.argv[1]))
    _become(**asked)
    _execute(asked["arguments"][0], asked["arguments"][asked["arguments"][0] in ("-c", "-m")])
