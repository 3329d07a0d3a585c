"""What torchrun and SLURM tell the processes that they start, and what such a process answers at the door."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Answer
from frostline.distributed.launcher import Launch, follows, launched, many

TORCHRUN = {"TORCHELASTIC_RUN_ID": "it", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
            "GROUP_WORLD_SIZE": "2"}  # fmt: skip
SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "2",
         "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}  # fmt: skip
ONE_HOST = TORCHRUN | {"WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
ALONE = SLURM | {"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}
STALE = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "3"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`started(TORCHRUN, RANK="3")`: by that launcher, with these variables otherwise."""

    def start(said: dict[str, str], **otherwise: str) -> None:
        for name, value in {**said, **otherwise}.items():
            monkeypatch.setenv(name, value)

    for name in {**TORCHRUN, **SLURM, **STALE, "SLURM_JOB_NAME": "", "NODE_RANK": ""}:
        monkeypatch.delenv(name, raising=False)
    return start


# --- who started it ---


def test_nobody_did(started: Callable[..., None]) -> None:
    assert (launched(), many(), follows()) == (None, False, False)


def test_torchrun_and_slurm_say_how_many_there_are(started: Callable[..., None]) -> None:
    started(SLURM, SLURM_PROCID="3")
    assert launched() == Launch("SLURM", 3, 2, 2, even=True)
    assert many()
    assert follows()
    started(TORCHRUN)  # in a job of SLURM, whose number is that of the host's torchrun
    assert launched() == Launch("torchrun", 0, 2, 2, even=True)
    assert not follows()


def test_one_task_of_slurm_is_one_process(started: Callable[..., None]) -> None:
    started(ALONE)
    assert launched() == Launch("SLURM", 0, 1, 1, even=True)
    assert not many()


def test_in_an_interactive_job_lightning_starts_the_processes(started: Callable[..., None]) -> None:
    started(SLURM, SLURM_JOB_NAME="interactive", LOCAL_RANK="1")
    assert launched() is None
    assert follows()


def test_the_second_host_of_hosts_without_a_launcher_follows(started: Callable[..., None]) -> None:
    started({"NODE_RANK": "1"})
    assert follows()


# --- what is answered ---

NEEDS_FOLDER = ["needs the same run_dir", "run_dir=<a folder"]
REFUSED = {
    "torchrun, no folder": (TORCHRUN, "train", NEEDS_FOLDER),
    "SLURM, no folder": (SLURM, "train", NEEDS_FOLDER),
    "several hosts, no folder": ({"MASTER_ADDR": "host1"}, "train trainer.num_nodes=2", NEEDS_FOLDER),
    "several hosts, no launcher": ({}, "train trainer.num_nodes=2 run_dir=it", ["no launcher", "trainer.num_nodes=1"]),
    "requeue, no folder": ({}, "train trainer=slurm", NEEDS_FOLDER),
    "requeue, a folder by the time": (ALONE, "train requeue=true run_dir=${{now:%H}}", NEEDS_FOLDER),
    "a sweep on two hosts": (
        TORCHRUN,
        "train -m seed=0,1",
        ["a sweep begins on one host, but torchrun started this one on 2", "train sweep.join=<folder>"],
    ),
    "a sweep of tasks": (
        {**SLURM, "SLURM_NNODES": "1"},
        "train -m seed=0,1",
        ["but SLURM started 4", "srun --ntasks=1", "torchrun --standalone --nproc-per-node=4"],
    ),
    "a sweep with workers": (
        ONE_HOST,
        "train -m seed=0,1 launcher=local",
        ["launcher=local starts processes of its own", "without torchrun"],
    ),
    "a sweep that restarts": (
        ONE_HOST | STALE,
        "train -m seed=0,1",
        ["needs the same folder", "hydra.sweep.dir=<folder>", "no --max-restarts"],
    ),
    "a sweep that is requeued": (
        {},
        "train -m requeue=true run_dir=it",
        ["run_dir names the folder of one run", "without -m"],
    ),
    "predict": (TORCHRUN, "predict run={tmp} input={tmp} output={tmp}/out.csv", ["predict runs in one process"]),
    "other devices": (
        TORCHRUN,
        "train run_dir=it trainer.devices=4",
        ["trainer.devices is 4, but torchrun started 2 processes on each host", "trainer.devices=auto"],
    ),
    "other hosts": (SLURM, "train run_dir=it trainer.num_nodes=3", ["num_nodes is 3, but SLURM", "on 2 hosts"]),
    "tasks anywhere": ({**SLURM, "SLURM_NTASKS_PER_NODE": None}, "train run_dir=it", ["--ntasks-per-node=<number>"]),
    "hosts unlike": ({**TORCHRUN, "WORLD_SIZE": "3"}, "train run_dir=it", ["the same --nproc-per-node on every host"]),
    "restarts that fail": (
        TORCHRUN | STALE,
        "train run_dir=it",
        ["addresses of the previous ones", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_and_begins_nothing(
    case: str, started: Callable[..., None], program: Callable[..., Answer], tmp_path: Path
) -> None:
    said, typed, expected = REFUSED[case]
    started({name: value for name, value in said.items() if value is not None})
    answer = program(*typed.format(tmp=tmp_path).split())
    assert answer.code == 1
    for words in expected:
        assert words in answer.err
    assert not {"run.json", "config.yaml", "out.csv"} & {path.name for path in tmp_path.rglob("*")}


def test_a_process_that_follows_tells_torchrun_and_nobody_else(
    started: Callable[..., None], program: Callable[..., Answer], tmp_path: Path
) -> None:
    file = tmp_path / "error.json"
    started(TORCHRUN, RANK="1", LOCAL_RANK="1", TORCHELASTIC_ERROR_FILE=str(file))
    answer = program("train", "model=resnet5")
    assert (answer.code, answer.out, answer.err) == (1, "", "")
    assert "there is no model 'resnet5'" in json.loads(file.read_text())["message"]["extraInfo"]["py_callstack"]
