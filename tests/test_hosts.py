"""Runs that torchrun starts, on one machine and on two hosts, which are network namespaces where this machine lets the
test make them. A process or a whole host that is lost is started again, and the run ends as if nothing had been.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import lightning as L
import pytest
import torch

from conftest import ROOT, free_port
from frostline.training.callbacks import checkpoint_files

pytestmark = pytest.mark.process

# Four batches an epoch, small pictures, two epochs a phase, dropout and augmentation on, float32.
SHORT = ["data.train_limit=200", "data.batch_size=50", "data.image_size=16", "trainer=ddp", "trainer.accelerator=cpu"]
SHORT += ["logger=none"]
SHORT += [
    "schedule.phases.head.epochs=2",
    "schedule.every_phase.solve=false",
    "schedule.phases.all.epochs=2",
    "head=mlp",
    "head.hidden=[32]",
]
SHORT += ["trainer.precision=32-true", "+callbacks.pause={_target_: test_hosts.Pause}"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--max-restarts=3"]
TWO = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "-m", "frostline", "train", *SHORT]
PATIENCE = 240  # seconds, for what takes 20 on an idle machine


class Pause(L.Callback):
    """Each process tells its number at a batch of the run, and waits there; once, however often it is started.
    Checkpoints are written at once."""

    def __init__(self) -> None:
        checkpoint_files.worth_of = lambda took: 0.0
        self.place = Path(os.environ.get("PAUSE_IN", "nowhere"))
        self.step = int(os.environ.get("PAUSE_AT", "-1"))

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step != self.step or (self.place / "go").exists():
            return
        draft = self.place / f"draft-{trainer.global_rank}"
        draft.write_text(str(os.getpid()))
        draft.rename(self.place / f"rank-{trainer.global_rank}")
        while not (self.place / "go").exists():
            time.sleep(0.02)


class Late(L.Callback):
    """No write of a checkpoint is ever worth it, in each process: they wait as long as they can."""

    def __init__(self) -> None:
        checkpoint_files.WORTH = math.inf  # type: ignore[assignment]
        checkpoint_files.LateFiles.took = 1.0


def until(condition: Callable[[], object], *processes: subprocess.Popen[Any]) -> None:
    """Waits for it, as long as these processes run."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it took too long"
        assert all(process.poll() is None for process in processes), "it ended too early"
        time.sleep(0.05)


def all_pause(place: Path, *agents: subprocess.Popen[Any]) -> list[int]:
    """The numbers of the two processes, by rank, once both wait."""
    files = [place / "rank-0", place / "rank-1"]
    until(lambda: all(file.exists() for file in files), *agents)
    return [int(file.read_text()) for file in files]


def environment(place: Path | None = None, step: int = -1, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    pause = {"PAUSE_IN": str(place), "PAUSE_AT": str(step)} if place is not None else {}
    fresh = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5"}
    return {**kept, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **fresh, **pause, **more}


@contextmanager
def started(*command: str, log: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        agent = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
    try:
        yield agent
    finally:
        if agent.poll() is None:
            agent.terminate()  # it ends its workers
            with suppress(subprocess.TimeoutExpired):
                agent.wait(20)
        agent.kill()
        agent.wait()


def ended(agent: subprocess.Popen[bytes], log: Path) -> str:
    """What it said; it went well."""
    assert agent.wait(PATIENCE) == 0, log.read_text()
    return log.read_text()


def record_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "run.json").read_text())
    return content


def require_equal(run: Path, whole: Path) -> None:
    assert record_of(run)["status"] == record_of(whole)["status"] == "finished"
    assert record_of(run)["metrics"] == record_of(whole)["metrics"]
    for name in ("best", "last"):
        before, after = (
            torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for folder in (whole, run)
        )
        assert [key for key in before if not torch.equal(before[key], after[key])] == [], name


# --- one machine ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    log = folder / "log"
    with started(*TWO, f"run_dir={folder / 'run'}", log=log, env=environment()) as agent:
        said = ended(agent, log)
    for line in ("   learns", "all     1/2   loss", "test  test/loss", "run   "):
        assert said.count(line) == (2 if line == "   learns" else 1), "the leading process alone tells"
    return folder / "run"


@pytest.mark.long
def test_torchrun_starts_a_lost_process_again(whole: Path, tmp_path: Path) -> None:
    run, log, pause = tmp_path / "run", tmp_path / "log", tmp_path / "pause"
    pause.mkdir()
    with started(*TWO, f"run_dir={run}", log=log, env=environment(pause, step=13)) as agent:
        os.kill(all_pause(pause, agent)[1], signal.SIGKILL)
        (pause / "go").touch()
        said = ended(agent, log)
    assert said.count(f"run   {run} continues in phase ") == 1
    require_equal(run, whole)


@pytest.mark.long
def test_a_signal_to_torchrun_ends_the_run_and_the_same_command_goes_on(whole: Path, tmp_path: Path) -> None:
    run, log, pause = tmp_path / "run", tmp_path / "log", tmp_path / "pause"
    pause.mkdir()
    with started(*TWO, f"run_dir={run}", log=log, env=environment(pause, step=5)) as agent:
        all_pause(pause, agent)
        agent.send_signal(signal.SIGTERM)
        (pause / "go").touch()
        assert agent.wait(PATIENCE) == 1
    assert (record_of(run)["status"], record_of(run)["error"]["type"]) == ("interrupted", "SIGTERM")
    assert log.read_text().count(f"next:  frostline train trust=true resume={run}") == 1
    with started(*TWO, f"run_dir={run}", log=log, env=environment()) as agent:
        ended(agent, log)
    require_equal(run, whole)


@pytest.mark.long
def test_slurm_ends_a_job_before_its_time_and_starts_it_again(whole: Path, tmp_path: Path) -> None:
    """As srun does with two tasks: what it tells each, SIGUSR1 to each, and the same command again."""
    pause, run, asked = tmp_path / "pause", tmp_path / "run", tmp_path / "asked"
    pause.mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ $(grep -c interrupted {run}/run.json) >> {asked}\n")
    scontrol.chmod(0o755)
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "mine", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
    job |= {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    job |= {"PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"}
    settings = ["trainer=slurm" if setting == "trainer=ddp" else setting for setting in SHORT]
    command = [sys.executable, "-m", "frostline", "train", *settings, f"run_dir={run}"]

    @contextmanager
    def tasks() -> Iterator[list[subprocess.Popen[bytes]]]:
        with ExitStack() as stack:
            numbered = [{"SLURM_PROCID": number, "SLURM_LOCALID": number} for number in "01"]
            envs = [environment(pause, 13, **job, **number) for number in numbered]
            yield [
                stack.enter_context(started(*command, log=log, env=env)) for log, env in zip(logs, envs, strict=True)
            ]

    logs = [tmp_path / "log-0", tmp_path / "log-1"]
    with tasks() as processes:
        all_pause(pause, *processes)
        for process in processes:
            process.send_signal(signal.SIGUSR1)
        (pause / "go").touch()
        codes = [process.wait(PATIENCE) for process in processes]
    assert codes == [128 + signal.SIGUSR1] * 2, [log.read_text() for log in logs]
    assert asked.read_text() == "requeue 4711 1\n", "once, when all was written"
    assert record_of(run)["error"]["type"] == "SIGUSR1"
    with tasks() as processes:
        for process, log in zip(processes, logs, strict=True):
            ended(process, log)
    assert logs[1].read_text() == ""
    require_equal(run, whole)


# --- two hosts ---


class Host:
    """A network namespace. number: 1 or 2, the last part of its address."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.device = f"fl{name[-6:]}{number}"
        self.address = f"10.77.0.{number}"

    def ip(self, *arguments: str) -> str:
        return ip("-n", self.name, *arguments)

    def connect(self) -> None:
        self.ip("addr", "add", f"{self.address}/24", "dev", self.device)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", self.device, "up")

    def cut_off(self) -> None:
        """No packet comes or goes, and no process gets an error."""
        self.ip("link", "set", self.device, "down")

    def lose_power(self) -> None:
        for number in ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)

    def boot(self) -> None:
        """With the cable that it had, and no memory of what went over it: the namespace is a new one."""
        self.ip("link", "set", self.device, "netns", str(os.getpid()))
        ip("netns", "del", self.name)
        ip("netns", "add", self.name)
        ip("link", "set", self.device, "netns", self.name)
        self.connect()

    def torchrun(self, port: int, *settings: str) -> list[str]:
        rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=10.77.0.1:{port}", "--rdzv-id=it"]
        rendezvous += [f"--rdzv-conf=is_host={int(self.number == 1)}", f"--local-addr={self.address}"]
        agent = [*TORCHRUN, "--nnodes=2", "--nproc-per-node=1", *rendezvous, "-m", "frostline", "train"]
        return ["ip", "netns", "exec", self.name, *agent, *SHORT, *settings]


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two, with a cable between them."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("two hosts are network namespaces, and those need root and the program ip")
    unique = uuid4().hex[:6]
    pair = Host(f"frostline-a{unique}", 1), Host(f"frostline-b{unique}", 2)
    try:
        try:
            for host in pair:
                ip("netns", "add", host.name)
            one, two = pair
            cable = ["type", "veth", "peer", "name", two.device, "netns", two.name]
            ip("link", "add", one.device, "netns", one.name, *cable)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")
        for host in pair:
            host.connect()
        yield pair
    finally:
        for host in pair:
            with suppress(subprocess.CalledProcessError):
                host.lose_power()
                ip("netns", "del", host.name)


@pytest.mark.long
def test_a_host_that_is_cut_off_comes_back_and_the_run_ends_the_same(
    hosts: tuple[Host, Host], whole: Path, tmp_path: Path
) -> None:
    """Both hosts see one folder, as over a network file system. The first holds torchrun's rendezvous and stays."""
    one, two = hosts
    pause = tmp_path / "pause"
    pause.mkdir()
    logs = [tmp_path / name for name in ("one", "two", "two again")]

    def start(host: Host, log: Path, **more: Any) -> Any:
        said = environment(**more, GLOO_SOCKET_IFNAME=host.device)
        return started(*host.torchrun(port, f"run_dir={run}"), log=log, env=said)

    run, port = tmp_path / "undisturbed", free_port()
    with start(one, logs[0]) as first, start(two, logs[1]) as second:
        ended(first, logs[0])
        ended(second, logs[1])
    require_equal(run, whole)

    run, port = tmp_path / "cut", free_port()
    held = {"place": pause, "step": 13}  # in the second epoch of the second phase
    with start(one, logs[0], **held) as first:
        with start(two, logs[1], **held) as second:
            all_pause(pause, first, second)
            two.cut_off()
            (pause / "go").touch()
            time.sleep(1)  # the first host waits for an answer
            two.lose_power()
            second.wait(PATIENCE)
        assert first.poll() is None
        two.boot()
        with start(two, logs[2]) as second:
            said = ended(first, logs[0])
            ended(second, logs[2])
    assert f"run   {run} continues " in said + logs[2].read_text()
    require_equal(run, whole)
