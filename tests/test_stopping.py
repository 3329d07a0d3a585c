"""A signal ends every command with the exit code of shells and a line, and leaves nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from conftest import DEVICE, SMALL, Answer
from forked import started
from frostline.distributed.signals import ENDING, Stopped, deaf, last_resort, stoppable, unfailing_output


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """A shell starts its background jobs with SIGINT ignored, and other tests may have left a handler."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


COMMANDS = {
    "evaluate": ["run={run}"],
    "predict": ["run={run}", "input=it.png", "output=out.csv"],
    "export": ["run={run}", "output=out.safetensors"],
    "lr_find": [*SMALL, "schedule=full", "lr_find.steps=10", "logs_dir=out"],
    "rank": ["models=[bundled]", "data.train_limit=40", "data.image_size=8", *DEVICE, "output=out"],
    "train": [*SMALL, "run_dir=out"],
}
MOMENTS = {  # in the middle of the work of each
    "evaluate": "lightning.pytorch.loops.evaluation_loop._EvaluationLoop._evaluation_step",
    "predict": "frostline.training.finetuner.FineTuner.predict_step",
    "export": "frostline.commands.trained.load_state",
    "lr_find": "frostline.commands.lr_find.rising_rate.RisingRate.on_train_start",
    "rank": "frostline.commands.rank.rank.features_alone",
    "train": "frostline.training.build._top",  # before its folder is its own; for what comes then see test_resume.py
}


@pytest.mark.parametrize("signum", ENDING)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_ends_it_with_the_code_of_shells_and_leaves_nothing(
    command: str,
    signum: signal.Signals,
    small_run: Path,
    program: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "it.png")

    def kill(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signum)

    monkeypatch.setattr(MOMENTS[command], kill)
    answer = program(command, *(split.format(run=small_run) for split in COMMANDS[command]))
    said = answer.err.splitlines()
    assert (answer.code, said[-1]) == (128 + signum, f"frostline: interrupted by {signum.name}")
    assert [line for line in said[:-1] if "probabilities are calibrated" not in line] == []
    assert [path.name for path in tmp_path.iterdir()] == ["it.png"]
    assert [signal.getsignal(number) for number in ENDING] == [
        signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL
    ], "the next command of this process hears its own"  # fmt: skip


def test_what_was_ignored_stays_ignored() -> None:
    """As nohup starts it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stoppable():
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        deaf()
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.process
def test_ctrl_c_in_the_first_moments_is_answered_as_later() -> None:
    """While the program itself is imported."""
    code = (
        "import sys, importlib.abc, _thread\n"
        "class Stop(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'hydra': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "sys.argv = ['frostline', 'train']\n"
        "from frostline.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "frostline: interrupted by SIGINT\n")


class Broken:
    """A pipe whose reader is gone, or a full disk."""

    def __init__(self) -> None:
        self.asked = 0

    def write(self, text: str) -> int:
        self.asked += 1
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_output_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Broken()
    monkeypatch.setattr(sys, "stdout", out)
    with unfailing_output():
        print("one", flush=True)
        print("two", flush=True)
        sys.stdout.flush()
    assert sys.stdout is out
    assert out.asked == 1, "it is not tried again"


@pytest.mark.process
def test_a_training_whose_reader_has_gone_goes_on_to_its_end(tmp_path: Path) -> None:
    """`frostline train | head -1`."""
    process = started("-m", "frostline", "train", *SMALL, "run_dir=run", "schedule=head_only", cwd=tmp_path)
    assert process.stdout.readline().startswith("data  ")
    process.stdout.close()
    _, err = process.communicate(timeout=300)
    assert '"status": "finished"' in (tmp_path / "run" / "run.json").read_text(), err


def test_a_signal_that_the_main_thread_does_not_hear_ends_the_process_and_its_children(tmp_path: Path) -> None:
    """As while it waits within torch for a rank that was stopped."""
    code = """
import ctypes, os, signal, subprocess, sys
from frostline.distributed import signals as stopping
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with stopping.stoppable(), stopping.last_resort(grace=0.3):
    mutex, take = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
    take(mutex)
    print(child.pid, flush=True)
    take(mutex)  # a thread that waits for itself in C, and no signal ends that
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    time.sleep(1)  # until it waits
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "interrupted by SIGTERM" in err
    deadline = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """A zombie is not: who should have waited for it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_signal_that_is_heard_ends_nothing_later() -> None:
    with stoppable(), last_resort(grace=0.05):
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)


def test_signals_of_a_forked_worker_are_not_those_of_this_process() -> None:
    with stoppable(), last_resort(grace=0.05):
        worker = os.fork()
        if worker == 0:
            with suppress(Stopped):
                os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(worker, 0)
        time.sleep(0.2)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_ends_with_the_one_that_started_it() -> None:
    watches = "from frostline.distributed.signals import end_with_parent; end_with_parent(); print('it', flush=True)"
    child = f"{watches}; import time; time.sleep(60)"
    starts = "import subprocess, sys; own = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=-1)"
    parent = f"{starts}; own.stdout.readline(); print(own.pid)"
    said = subprocess.run([sys.executable, "-c", parent, child], capture_output=True, text=True, check=True)
    status = Path("/proc") / said.stdout.strip() / "stat"
    end = time.monotonic() + 30
    with suppress(FileNotFoundError):
        while status.read_text().rpartition(") ")[2][0] != "Z":  # ended, but not awaited
            assert time.monotonic() < end, "it still runs"
            time.sleep(0.1)
