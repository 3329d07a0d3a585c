"""The program as a user starts it: real processes, an empty home folder, any folder."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models

from conftest import ROOT, Answer, short_form
from forked import FRESH, stand_in, started
from test_hosts import all_pause

pytestmark = pytest.mark.process

QUICK = ["data.train_limit=200", "data.image_size=8", "logger=none"]
QUICK += ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1"]
# For what has to be paused: its callback is in a file of these tests.
PAUSABLE = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}


def _start(*command: str, folder: Path, **environment: str) -> Any:
    (folder / "home").mkdir(exist_ok=True)
    return started(*command, cwd=folder, env={**os.environ, "HOME": str(folder / "home"), **environment})


def _run(*command: str, folder: Path, **environment: str) -> tuple[str, str]:
    process = _start(*command, folder=folder, **environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return out, err


def _only_run(folder: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = folder.glob("logs/runs/*/*/run.json")
    return path.parent, json.loads(path.read_text())


def _checkpoint(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content


def test_the_embedded_default_tells_what_happened_and_what_to_do_next(
    tmp_path: Path, program: Callable[..., Answer]
) -> None:
    small = ["data.train_limit=400", "data.image_size=16", "schedule.phases.all.epochs=1"]
    out, err = _run(str(ROOT / "train.py"), *small, folder=tmp_path)
    assert err == "", "nothing to warn of"
    run, record = _only_run(tmp_path)
    assert record["status"] == "finished"
    assert record["metrics"]["test/accuracy"] > 0.9
    for said in ("learning rate", "head, stage3 … stem", f"{record['metrics']['test/accuracy']:.4f}", "n = 359"):
        assert said in out
    folder = str(run.relative_to(tmp_path))
    assert f"run   {folder}" in out
    assert f"frostline evaluate run={folder}" in out, "with its place where the shell does not find it"
    scored = program("evaluate", f"run={folder}")
    (before,) = [line for line in out.splitlines() if line.startswith("test ")]
    assert before in scored.out.splitlines(), "the very same numbers"


@pytest.mark.long
def test_each_job_of_a_sweep_starts_its_own_ranks(tmp_path: Path) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    _run(
        str(ROOT / "train.py"), "-m", "seed=0,1", "sweep.test=all", *ranks, *QUICK, folder=tmp_path, OMP_NUM_THREADS="1"
    )
    records = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("logs/sweeps/*/*/*/run.json"))]
    assert [(record["status"], record["seed"]) for record in records] == [("finished", 0), ("finished", 1)]
    assert [record["metrics"]["test/n"] for record in records] == [359, 359]
    assert records[0]["metrics"]["test/loss"] != records[1]["metrics"]["test/loss"]


@pytest.mark.long
def test_two_ranks_hold_the_same_average(tmp_path: Path) -> None:
    """Each rank averages its own norm statistics; the model is left as it was scored, with those of rank 0."""
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    plan = ["schedule=full", "schedule.phases.all.epochs=1", "schedule.every_phase.curve=constant", "optimizer.lr=0.03"]
    average = ["schedule.average.ema_decay=0.9", "task.monitor=val/loss", "task.mode=min"]  # better at such a rate
    data = ["data.train_limit=200", "data.image_size=16"]
    _run(str(ROOT / "train.py"), *ranks, *data, *plan, *average, folder=tmp_path, OMP_NUM_THREADS="1")
    run, record = _only_run(tmp_path)
    assert record["best"]["average"] == "ema 0.9"
    scored, _ = _run("-m", "frostline", "evaluate", f"run={run}", folder=tmp_path, OMP_NUM_THREADS="1")
    assert f"test/loss {record['metrics']['test/loss']:.4f}" in scored


def test_an_interrupt_is_recorded_and_can_be_resumed(tmp_path: Path) -> None:
    long = [*QUICK[:-1], "schedule.phases.all.epochs=900"]
    process = _start(str(ROOT / "train.py"), *long, folder=tmp_path)
    checkpoint = None
    while checkpoint is None and process.poll() is None:
        checkpoint = next(tmp_path.glob("logs/runs/*/*/checkpoints/last.ckpt"), None)
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    assert "next:  frostline train resume=logs/runs/" in err
    _, record = _only_run(tmp_path)
    assert record["status"] == "interrupted"


@pytest.mark.long
def test_resnet50_takes_a_weights_file_at_224_pixels_on_real_pictures(tmp_path: Path, shared: Path) -> None:
    torch.manual_seed(0)
    state = {f"module.{name}": value for name, value in models.resnet50().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "resnet50.pth")
    small = ["trainer=debug", "data.train_limit=40", "data.batch_size=10"]
    small += ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1"]
    out, _ = _run(
        str(ROOT / "train.py"),
        *["model=resnet50", "model.weights=resnet50.pth", "data=cifar10", *small],
        folder=tmp_path,
        FROSTLINE_DATA_DIR=str(shared),
    )
    run, record = _only_run(tmp_path)
    assert "left out on purpose: fc.bias, fc.weight" in out
    assert (record["data"]["num_train"], record["data"]["num_val"], record["data"]["num_test"]) == (40, 5000, 10000)
    assert record["data"]["classes"][:2] == ["airplane", "automobile"]
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(last["backbone.blocks.stem.0.weight"], state["module.conv1.weight"]), "it was thawed"


def test_the_wheel_works_in_any_folder(tmp_path: Path) -> None:
    """Unpacked, without the checkout: configuration and weights come from the package. In an interpreter of its own,
    which warns of nothing when it imports and trains."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    own = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1", **FRESH}
    _, err = _run("-m", "frostline", "train", *QUICK, folder=tmp_path, **own)
    assert err == ""
    _, record = _only_run(tmp_path)
    assert f"{site}/frostline/backbones/bundled.safetensors" in record["model"]["weights"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`whole("ddp")`: where two ranks of that trainer have run, undisturbed; they run once."""

    @cache
    def folder_of(trainer: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        _run(str(ROOT / "train.py"), *_two(trainer), folder=folder, **PAUSABLE)
        return folder

    return folder_of


def _two(trainer: str) -> list[str]:
    """Four steps an epoch, dropout on; with a place to pause at, for PAUSE_IN and PAUSE_AT to name."""
    ranks = [f"trainer={trainer}", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    plan = ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=2", "head=mlp", "head.hidden=[32]"]
    data = ["data.train_limit=200", "data.batch_size=50", "data.image_size=16"]
    return [*ranks, *plan, *data, "+callbacks.pause={_target_: test_hosts.Pause}"]


@pytest.mark.long
def test_two_ranks_score_each_sample_once_in_one_folder(whole: Callable[[str], Path]) -> None:
    _, record = _only_run(whole("ddp"))
    assert record["status"] == "finished"
    assert record["metrics"]["test/n"] == 359
    assert [row["val"]["val/n"] for row in record["phases"]] == [143, 143]


@pytest.mark.parametrize("interpreters", short_form(["fresh", "forked"], "forked"))
def test_torchrun_starts_the_ranks_of_a_run(interpreters: str, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script, more = [str(ROOT / "train.py")], FRESH
    if interpreters == "forked":
        script, more = ["--no-python", *stand_in(*script)], {}
    own = ["schedule=head_only", "data.train_limit=40", "data.image_size=8", "trainer=ddp", "trainer.accelerator=cpu"]
    run = ["logger=none", f"run_dir={tmp_path / 'run'}"]
    _run(*torchrun, *script, *own, *run, folder=tmp_path, OMP_NUM_THREADS="1", **more)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["metrics"]["test/n"] == 359


@pytest.mark.long
@pytest.mark.parametrize("trainer", ["ddp", pytest.param("fsdp", marks=pytest.mark.long)])
def test_two_ranks_resume_and_score_what_was_recorded(
    trainer: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    """The other rank goes on with the run's own configuration, and an evaluation starts both again. Its checkpoints
    wait as long as they can; the best of the epoch before is among them when it is stopped."""
    pause = tmp_path / "pause"
    pause.mkdir()
    in_last_epoch = {"PAUSE_IN": str(pause), "PAUSE_AT": "10"}  # of three with four steps each
    late = "+callbacks.late={_target_: test_hosts.Late}"
    process = _start(str(ROOT / "train.py"), *_two(trainer), late, folder=tmp_path, **PAUSABLE, **in_last_epoch)
    try:
        all_pause(pause, process)
        process.send_signal(signal.SIGINT)
        (pause / "go").touch()
        process.communicate(timeout=120)
    finally:
        process.kill()
    run, record = _only_run(tmp_path)
    assert record["status"] == "interrupted"
    assert {name: _checkpoint(run, name)["global_step"] for name in ("best", "last")} == {"best": 8, "last": 11}
    folder = str(run.relative_to(tmp_path))
    _run(str(ROOT / "train.py"), f"resume={folder}", "trust=true", folder=tmp_path, **PAUSABLE)
    undisturbed = _only_run(whole(trainer))
    resumed, expected = _only_run(tmp_path)[1]["metrics"], undisturbed[1]["metrics"]
    assert resumed == expected
    for name in ("best", "last"):
        now, before = (_checkpoint(place, name)["state_dict"] for place in (run, undisturbed[0]))
        assert now.keys() == before.keys()
        assert [key for key in before if not torch.equal(now[key], before[key])] == [], name
    out, _ = _run("-m", "frostline", "evaluate", f"run={folder}", folder=tmp_path, **PAUSABLE)
    assert f"test/loss {expected['test/loss']:.4f}   test/accuracy {expected['test/accuracy']:.4f}" in out
