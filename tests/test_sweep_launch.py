"""Sweeps that torchrun starts: rank 0 runs the jobs, each with as many devices as torchrun started processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import faked
from conftest import ROOT, Answer
from frostline.runs.record import Record
from frostline.runs.sweeps import Sweep

Program = Callable[..., Answer]
TORCHRUN = {"TORCHELASTIC_RUN_ID": "it", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
            "GROUP_WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1", "SLURM_NTASKS": "1"}  # fmt: skip
SWEEP = ["train", "-m", *faked.SMALL, "optimizer.lr=0.1,0.01", "hydra.sweep.dir=S"]


@pytest.fixture(autouse=True)
def ranked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """The environment of rank 0; `ranked(RANK="1")` changes it."""

    def change(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    change(**TORCHRUN, TORCHELASTIC_ERROR_FILE=str(tmp_path / "error.json"))
    return change


def devices(folder: Path) -> list[list[str]]:
    """What was typed for each job."""
    return [[it for it in job if it.startswith("trainer.devices")] for job in Sweep.read(folder).jobs]


@pytest.mark.usefixtures("untrained")
def test_rank_0_runs_each_job_with_the_devices_of_torchrun(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*args: object, **kwargs: object) -> None:
        seen.append({*TORCHRUN, "TORCHELASTIC_ERROR_FILE"} & {*os.environ})
        faked.trained(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setitem(sys.modules, "frostline.commands.train", faked.module("train", train=run))
    answer = program(*SWEEP)
    assert answer.code == 0, answer.err
    assert "rank 0 of torchrun runs the sweep, each run with trainer.devices=2; OMP_NUM_THREADS=1, " in answer.err
    assert devices(tmp_path / "S") == [["trainer.devices=2"]] * 2
    assert seen == [set(), set()], "a run starts its ranks itself"
    assert os.environ["TORCHELASTIC_RUN_ID"] == "it"


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(("typed", "expected"), [("auto", "2"), ("-1", "2"), ("1", "1")])
def test_typed_devices_are_kept(typed: str, expected: str, program: Program, tmp_path: Path) -> None:
    answer = program(*SWEEP, f"trainer.devices={typed}")
    assert answer.code == 0
    assert f"each run with trainer.devices={expected}\n" in answer.err
    assert devices(tmp_path / "S") == [[f"trainer.devices={expected}"]] * 2


@pytest.mark.parametrize("command", [SWEEP, ["train", "sweep.resume=nowhere"]])
def test_other_ranks_end_at_once(
    command: list[str], program: Program, tmp_path: Path, ranked: Callable[..., None]
) -> None:
    ranked(RANK="1", LOCAL_RANK="1")
    answer = program(*command)
    assert (answer.code, answer.out, answer.err, [*tmp_path.iterdir()]) == (0, "", "", [])


@pytest.mark.usefixtures("untrained")
def test_torchruns_summary_says_that_jobs_failed(program: Program, tmp_path: Path) -> None:
    assert program(*SWEEP, "model.weights=none.pth").code == 1
    assert json.loads((tmp_path / "error.json").read_text())["message"]["message"].startswith("2 of 2 jobs failed")


@pytest.mark.usefixtures("untrained")
def test_a_restart_goes_on_with_the_sweep_and_with_no_other(
    program: Program, tmp_path: Path, ranked: Callable[..., None]
) -> None:
    ranked(TORCHELASTIC_MAX_RESTARTS="2")
    assert program(*SWEEP).code == 0
    record = Record.read(tmp_path / "S" / "1")
    record.status = "interrupted"
    record.write(tmp_path / "S" / "1")
    before = (tmp_path / "S" / "sweep.json").read_text()
    answer = program(*SWEEP)
    assert answer.code == 0, answer.err
    assert [line[:3] for line in answer.out.splitlines() if line.startswith("[")] == ["[1]"]
    assert (tmp_path / "S" / "sweep.json").read_text() == before
    answer = program(*SWEEP, "seed=7")
    assert answer.code == 1
    assert "a sweep keeps its own settings, and it was not started with: seed=7" in answer.err


@pytest.mark.usefixtures("untrained")
def test_a_sweep_that_is_taken_up_keeps_its_devices(program: Program, tmp_path: Path) -> None:
    assert program(*SWEEP, "trainer.devices=1").code == 0
    answer = program("train", "sweep.resume=S")
    assert answer.code == 0, answer.err
    assert "rank 0 of torchrun takes part, with the trainer.devices of the sweep" in answer.err
    assert devices(tmp_path / "S") == [["trainer.devices=1"]] * 2


@pytest.mark.long
def test_torchrun_starts_a_sweep(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(ROOT / "train.py"), "-m"]
    own = ["schedule=head_only", "data.train_limit=40", "data.image_size=8", "trainer=ddp", "trainer.accelerator=cpu"]
    sweep = ["seed=0,1", "logger=none", "report=false", "sweep.test=none", "hydra.sweep.dir=S"]
    environment = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    environment |= {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *command, *own, *sweep], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for name in "01":
        folder = tmp_path / "S" / name
        assert Record.read(folder).status == "finished"
        assert OmegaConf.load(folder / "config.yaml").trainer.devices == 2
    assert ended.stdout.count("[0] ") == ended.stdout.count("[1] ") == 1
    assert {path.name for path in (tmp_path / "S").iterdir()} >= {"0", "1", "sweep.json", "leaderboard.csv"}
