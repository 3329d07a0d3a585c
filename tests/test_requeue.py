"""SLURM is asked for a job again where SIGUSR1 ended it, by one process, once all is written."""

import os
import signal
from pathlib import Path

import pytest

from frostline.distributed.slurm_requeue import requeued
from frostline.training.callbacks.safety import Stopped


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which a scontrol of ours writes its arguments."""
    file = tmp_path / "asked"
    program = tmp_path / "scontrol"
    program.write_text(f"#!/bin/sh\necho $@ >> {file}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return file


def _signalled(*, asked: bool) -> int:
    with pytest.raises(Stopped) as stop, requeued(asked=asked):
        os.kill(os.getpid(), signal.SIGUSR1)
    return int(stop.value.code or 0)


def test_the_job_is_asked_for_again(asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    assert _signalled(asked=True) == 128 + signal.SIGUSR1
    assert asked.read_text() == "requeue 4711\n"
    assert "job 4711 is queued again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGUSR1) is before


def test_of_an_array_its_own_task(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4700")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "11")
    _signalled(asked=True)
    assert asked.read_text() == "requeue 4700_11\n"


def test_not_by_the_processes_that_follow(asked: Path) -> None:
    assert _signalled(asked=False) == 128 + signal.SIGUSR1
    assert not asked.exists()


def test_not_where_something_else_ended_it(asked: Path) -> None:
    with pytest.raises(Stopped), requeued(asked=True):
        raise Stopped(signal.SIGTERM)
    with requeued(asked=True):
        pass
    assert not asked.exists()


@pytest.mark.parametrize(
    ("scontrol", "said"),
    [("#!/bin/sh\necho Job is held >&2\nexit 1\n", "'4711' again: Job is held"), (None, "No such file")],
)
def test_a_refusal_is_told_with_what_to_do(
    scontrol: str | None, said: str, asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (asked.parent / "scontrol").unlink()
    monkeypatch.setenv("PATH", f"{asked.parent}{os.pathsep}/bin")
    if scontrol is not None:
        (asked.parent / "scontrol").write_text(scontrol)
        (asked.parent / "scontrol").chmod(0o755)
    _signalled(asked=True)
    err = capsys.readouterr().err
    assert said in err
    assert "next:  submit it again" in err
