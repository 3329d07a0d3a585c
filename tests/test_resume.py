"""A run that was stopped anywhere and resumed ends in the very numbers of the run that was not."""

import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import lightning as L
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from conftest import ASIDE, DEVICE, Answer, short_form
from frostline.cli.main import main
from frostline.runs.folders import claimed, stamp
from frostline.training import trainer
from frostline.training.callbacks.checkpoint_files import LateFiles, WholeFiles
from frostline.training.callbacks.checkpoints import PlacedCheckpoint
from frostline.training.finetuner import CHECKPOINT_KEY
from frostline.training.trainer import CHOSEN
from tiny import CHAIN

# Four batches an epoch, small pictures, two epochs a phase, dropout and augmentation on, float32.
SHORT = [*CHAIN, *DEVICE, "trainer.precision=32-true", "logger=none", *ASIDE]
SHORT += [
    "schedule.phases.head.epochs=2",
    "schedule.every_phase.solve=false",
    "schedule.phases.all.epochs=2",
    "head=mlp",
    "head.hidden=[32]",
]
STOPPER = "+callbacks.stopper={_target_: test_resume.Stopper}"


LOSSES: dict[int, float] = {}  # of each epoch, as the run shows them


class Stopper(L.Callback):
    """Sends this process a signal at a batch of the run, as the environment says: `train 5 15`, `validate 2 15`; or
    raises an error: `train 5 0`."""

    def __init__(self) -> None:
        self.seen = {"train": 0, "validate": 0, "test": 0}

    def _count(self, stage: str) -> None:
        wanted, number, signum = os.environ.get("STOP_AT", "never 0 0").split()
        self.seen[stage] += 1
        if wanted == stage and self.seen[stage] == int(number):
            if signum == "0":
                raise ArithmeticError
            os.kill(os.getpid(), int(signum))

    def on_train_batch_start(self, *_: Any) -> None:
        self._count("train")

    def on_validation_batch_start(self, *_: Any) -> None:
        self._count("validate")

    def on_test_batch_start(self, *_: Any) -> None:
        self._count("test")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if pl_module.trained:
            LOSSES[trainer.current_epoch] = float(trainer.callback_metrics["train/loss_epoch"])


def _train(folder: Path, *overrides: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frostline", "train", *(overrides or [*SHORT, STOPPER, f"run_dir={folder}"])])
        try:
            main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        finally:
            GlobalHydra.instance().clear()
    return 0


def _record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def _state(folder: Path, name: str) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return state


def _require_equal(run: Path, whole: Path) -> None:
    now, expected = _record(run), _record(whole)
    assert now["status"] == "finished"
    assert now["metrics"] == expected["metrics"]
    assert now["per_class"] == expected["per_class"]
    assert [row["val"] for row in now["phases"]] == [row["val"] for row in expected["phases"]]
    assert [row["epochs"] for row in now["phases"]] == [row["epochs"] for row in expected["phases"]]
    for name in ("best", "last"):
        before, after = _state(whole, name), _state(run, name)
        assert before.keys() == after.keys()
        assert [key for key in before if not torch.equal(before[key], after[key])] == [], name


WHOLE_LOSSES: dict[int, float] = {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped. It writes its checkpoints in each epoch."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    LOSSES.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frostline.training.callbacks.checkpoint_files.worth_of", lambda _: 0.0)
        assert _train(folder) == 0
    WHOLE_LOSSES.update(LOSSES)
    return folder


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOP_AT", f"train 6 {int(signal.SIGTERM)}")
        assert _train(run) == 128 + signal.SIGTERM
    return run


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A copy of the run that was stopped in its second epoch."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write is ever worth it: checkpoints wait as long as they can."""
    monkeypatch.setattr("frostline.training.callbacks.checkpoint_files.WORTH", math.inf)
    monkeypatch.setattr(LateFiles, "took", 1.0)


MOMENTS = ["train 1", "train 3", "train 4", "train 6", "train 8", "train 11", "train 16", "validate 1", "validate 4",
           "test 1"]  # fmt: skip


@pytest.mark.parametrize(
    ("moment", "signum"),
    short_form(
        [  # the two signals differ in their exit code alone
            *((moment, signal.SIGTERM) for moment in MOMENTS),
            *((moment, signal.SIGINT) for moment in ("train 6", "validate 4")),
        ],
        ("train 6", signal.SIGTERM),
        ("validate 4", signal.SIGINT),
    ),
)
def test_a_stopped_run_goes_on_to_the_very_same_end(
    moment: str, signum: signal.Signals, late: None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With checkpoints that were written when they had to be."""
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signum)}")
    assert _train(run) == 128 + signum
    monkeypatch.delenv("STOP_AT")
    stopped = _record(run)
    assert (stopped["status"], stopped["error"]["type"]) == ("interrupted", signum.name)
    LOSSES.clear()
    assert _train(run, f"resume={run}", "trust=true") == 0
    _require_equal(run, whole)
    assert {epoch: WHOLE_LOSSES[epoch] for epoch in LOSSES} == LOSSES, "of the epoch that was broken off, too"


GOES_ON = [
    ("validate 1", "starts again: no checkpoint"),
    ("train 3", "continues in phase head in epoch 1 of 2, after 3 of its batches"),
    ("validate 10", "continues in phase all after epoch 1 of 2"),
    ("test 1", "continues after phase all"),
]


@pytest.mark.parametrize(("moment", "said"), short_form(GOES_ON, GOES_ON[1], GOES_ON[3]))
def test_a_resume_says_where_it_goes_on(
    moment: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., Answer]
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    answer = program("train", f"resume={run}", "trust=true")
    assert answer.code == 0, answer.err
    assert f"run   {run} {said}\n" in answer.out


def test_a_run_killed_before_its_last_checkpoint_was_written_starts_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., Answer]
) -> None:
    """The best one may be on disk while the last still waits in memory."""
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"train 6 {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    (run / "checkpoints" / "last.ckpt").unlink()
    assert (run / "checkpoints" / "best.ckpt").is_file()
    refused = program("train", f"resume={run}", "trust=true")
    assert "its checkpoint last.ckpt is missing" in refused.err, "an interruption writes it"
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running"}))
    answer = program("train", f"resume={run}", "trust=true")
    assert answer.code == 0, answer.err
    assert f"run   {run} starts again: no checkpoint\n" in answer.out
    _require_equal(run, whole)


def test_the_scores_of_a_run_that_is_not_finished_say_so(
    stopped: Path, whole: Path, program: Callable[..., Answer]
) -> None:
    answer = program("evaluate", f"run={stopped}", "trust=true")
    assert answer.code == 0, answer.err
    assert f"run   {stopped} is not finished (interrupted): its best checkpoint so far is scored\n" in answer.out
    assert "is not finished" not in program("evaluate", f"run={whole}", "trust=true").out


@pytest.mark.long
def test_a_run_may_be_stopped_again_while_it_resumes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"train 2 {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    for _ in range(7):  # each goes two batches further, the last batch of an epoch and its validation included
        assert _train(run, f"resume={run}", "trust=true") == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    assert _train(run, f"resume={run}", "trust=true") == 0
    _require_equal(run, whole)


def test_checkpoints_that_wait_are_those_of_a_run_that_writes_each(
    late: None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, written = tmp_path / "run", []
    write = WholeFiles._write_whole

    def noted(self: WholeFiles, place: Path, content: Callable[[BinaryIO], None]) -> None:
        write(self, place, content)
        written.append((place.name, torch.load(place, weights_only=True)[CHECKPOINT_KEY]["phase"]))

    monkeypatch.setattr(WholeFiles, "_write_whole", noted)
    assert _train(run) == 0
    assert written == [(f"{name}.ckpt", phase) for phase in ("head", "all") for name in ("best", "last")]
    _require_equal(run, whole)
    assert _record(run)["checkpoints"] == {"best": "checkpoints/best.ckpt", "last": "checkpoints/last.ckpt"}


KILLED: list[tuple[int, list[str]]] = [(7, []), (14, ["best.ckpt", "last.ckpt"])]


@pytest.mark.parametrize(("batch", "there"), short_form(KILLED, KILLED[1]))
def test_a_run_that_is_killed_while_checkpoints_wait_goes_on_from_older_ones(
    batch: int, there: list[str], late: None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second epoch of a phase. A process that is killed runs nothing more; here nothing more is written."""
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"train {batch} 0")
    with monkeypatch.context() as patch:
        patch.setattr(PlacedCheckpoint, "on_exception", lambda *_: None)
        with pytest.raises(ArithmeticError):
            _train(run)
    monkeypatch.delenv("STOP_AT")
    assert sorted(path.name for path in run.glob("checkpoints/*")) == there
    if there:
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[CHECKPOINT_KEY]["phase"] == "head"
    assert _train(run, f"resume={run}", "trust=true") == 0
    _require_equal(run, whole)


def test_a_run_that_fails_leaves_the_checkpoints_of_its_last_epoch(
    late: None, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", "train 7 0")
    with pytest.raises(ArithmeticError):
        _train(run)
    monkeypatch.delenv("STOP_AT")
    for name in ("best", "last"):
        said = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)[CHECKPOINT_KEY]
        assert (said["phase"], said["epoch"]) == ("head", 0)
    assert _train(run, f"resume={run}", "trust=true") == 0
    _require_equal(run, whole)


@pytest.mark.long
def test_a_phase_that_starts_from_the_best_does_so_again_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two checkpoints of its first epoch: by then that epoch is the run's best."""
    plan = [split for split in SHORT if not split.startswith("schedule.phases.head")]
    plan += ["schedule=lp_ft", "schedule.phases.probe.epochs=2", "schedule.phases.all.lr_scale=1"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert _train(whole, *plan, f"run_dir={whole}") == 0
    monkeypatch.setattr("frostline.training.callbacks.checkpoint_files.worth_of", lambda _: 0.0)
    save = WholeFiles.save_checkpoint

    def killed(self: WholeFiles, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if Path(path).name == "last.ckpt" and checkpoint[CHECKPOINT_KEY]["phase"] == "all":
            raise ArithmeticError
        save(self, checkpoint, path, storage_options)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setattr(WholeFiles, "save_checkpoint", killed)
        with pytest.raises(ArithmeticError):
            _train(run, *plan, f"run_dir={run}")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)[CHECKPOINT_KEY]
    assert best["phase"] == "all", "else nothing is tested here"
    assert _train(run, f"resume={run}", "trust=true") == 0
    _require_equal(run, whole)


def test_a_moved_folder_keeps_its_best_checkpoint(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    monkeypatch.setenv("STOP_AT", f"train 14 {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    run.rename(moved)
    assert _train(moved, f"resume={moved}", "trust=true") == 0
    _require_equal(moved, whole)
    assert not run.exists()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("epochs: 2", "epochs: 3", "plan.phases[0].epochs was 2 and is 3"),
        ("train_limit: 40", "train_limit: 30", "data.num_train was 40 and is 30"),
        ("seed: 0", "seed: 1", "seed was 0 and is 1"),
        ("flip: false", "flip: true", "augment[1] was False and is True"),
    ],
)
def test_a_resume_as_another_run_is_refused_with_the_difference(
    before: str,
    after: str,
    said: str,
    stopped: Path,
    program: Callable[..., Answer],
) -> None:
    config = stopped / "config.yaml"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))
    answer = program("train", f"resume={stopped}", "trust=true")
    assert answer.code == 1
    assert said in answer.err
    assert "init_from=" in answer.err


def test_keys_of_a_newer_version_do_not_hinder_a_resume(
    stopped: Path, whole: Path, program: Callable[..., Answer]
) -> None:
    path = stopped / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    own = content["frostline"]
    for held in (own, own["identity"], own["identity"]["targets"]):
        held["later"] = 1
    torch.save(content, path)
    answer = program("train", f"resume={stopped}", "trust=true")
    assert answer.code == 0, answer.err
    _require_equal(stopped, whole)


@pytest.mark.parametrize("precision", short_form(CHOSEN, "bf16-mixed"))
def test_a_resume_keeps_the_precision_that_was_chosen_where_the_run_began(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., Answer]
) -> None:
    run, (other,) = tmp_path / "run", {*CHOSEN} - {precision}
    monkeypatch.setattr(trainer, "_precision", lambda wanted, _: precision if wanted == "auto" else wanted)
    monkeypatch.setenv("STOP_AT", f"train 6 {int(signal.SIGTERM)}")
    assert _train(run, *SHORT, STOPPER, "trainer.precision=auto", f"run_dir={run}") == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    monkeypatch.setattr(trainer, "_precision", lambda wanted, _: other if wanted == "auto" else wanted)
    answer = program("train", f"resume={run}", "trust=true")
    assert answer.code == 0, answer.err
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["frostline"]["precision"] == precision


# --- jobs of SLURM ---


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is asked of SLURM, a line per call, with the status of the run at that moment."""
    folder, asked = tmp_path / "bin", tmp_path / "asked"
    folder.mkdir()
    program = folder / "scontrol"
    program.write_text(f"#!/bin/sh\necho $@ $(grep -c interrupted {tmp_path}/run/run.json) >> {asked}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return asked


def test_the_command_of_a_job_that_is_queued_again_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scontrol: Path, program: Callable[..., Answer]
) -> None:
    run = tmp_path / "run"
    command = [*SHORT, STOPPER, "requeue=true", f"run_dir={run}"]
    for number, moment in enumerate(("train 11", "validate 2"), start=1):
        monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGUSR1)}")
        assert _train(run, *command) == 128 + signal.SIGUSR1
        assert scontrol.read_text() == "requeue 4711 1\n" * number
        assert _record(run)["error"]["type"] == "SIGUSR1"
    monkeypatch.delenv("STOP_AT")
    other = program("train", *command, "optimizer.lr=0.5", "trainer.log_every_n_steps=3")
    assert other.code == 1
    assert "started with other settings: optimizer.lr was 0.002 and is 0.5\n" in other.err
    again = program("train", *command, "logger=none")
    assert again.code == 0
    assert f"run   {run} continues in phase all " in again.out
    _require_equal(run, whole)
    finished = program("train", *command)
    assert finished.code == 1
    assert "this run is finished" in finished.err


# --- damage ---


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "foreign"])
def test_a_damaged_checkpoint_is_told_and_the_record_stays(
    damage: str, stopped: Path, program: Callable[..., Answer]
) -> None:
    for name in ("best", "last"):
        file = stopped / "checkpoints" / f"{name}.ckpt"
        whole = file.read_bytes()
        if damage == "foreign":
            torch.save({"weights": torch.zeros(3)}, file)
        else:
            file.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    before = (stopped / "run.json").read_bytes()
    picture = stopped.parent / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    for typed in (
        ["train", f"resume={stopped}", "trust=true"],
        ["evaluate", f"run={stopped}", "trust=true"],
        ["predict", f"run={stopped}", "trust=true", f"input={picture}", f"output={stopped.parent / 'out.csv'}"],
    ):
        answer = program(*typed)
        assert answer.code == 1
        assert "the checkpoint cannot be read" in answer.err
        assert "Traceback" not in answer.err
    assert (stopped / "run.json").read_bytes() == before
    assert not (stopped.parent / "out.csv").exists()


def test_a_checkpoint_of_another_run_is_refused(stopped: Path, whole: Path, program: Callable[..., Answer]) -> None:
    config = stopped / "config.yaml"
    config.write_text(config.read_text().replace("- 32\n", "- 16\n"))
    answer = program("train", f"resume={stopped}", "trust=true")
    assert answer.code == 1
    assert "head.layers.0.weight[0] was 32 and is 16" in answer.err


def test_two_processes_do_not_train_in_one_folder(stopped: Path, program: Callable[..., Answer]) -> None:
    with claimed(stopped, leads=True, seen=stamp(stopped)):
        answer = program("train", f"resume={stopped}", "trust=true")
    assert answer.code == 1
    assert "another process is training in this folder" in answer.err
    assert _record(stopped)["status"] == "interrupted"
    assert program("train", f"resume={stopped}", "trust=true").code == 0, "the lock is gone with its process"


def test_a_disk_that_is_full_is_told_and_the_run_goes_on_later(
    stopped: Path, whole: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's writer raises a RuntimeError where the disk is full."""

    def full(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with monkeypatch.context() as patch:
        patch.setattr("frostline.training.callbacks.checkpoint_files.torch.save", full)
        answer = program("train", f"resume={stopped}", "trust=true")
    assert answer.code == 1
    assert "cannot write a checkpoint" in answer.err
    assert not list((stopped / "checkpoints").glob(".*")), "no half file"
    assert _train(stopped, f"resume={stopped}", "trust=true") == 0
    _require_equal(stopped, whole)


def test_predictions_never_overwrite_a_picture_or_a_device(whole: Path, program: Callable[..., Answer]) -> None:
    picture = whole.parent / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    before = picture.read_bytes()
    device = whole.parent / "device"
    os.mkfifo(device)
    link = whole.parent / "link.csv"
    link.symlink_to(picture)
    for output in (picture, device, link):
        answer = program("predict", f"run={whole}", "trust=true", f"input={picture}", f"output={output}")
        assert answer.code == 1
        assert "cannot be written there" in answer.err
    assert picture.read_bytes() == before


def test_predictions_never_overwrite_the_input_under_another_name_or_the_run(
    whole: Path, program: Callable[..., Answer]
) -> None:
    picture = whole.parent / "own.png"
    Image.new("RGB", (8, 8)).save(picture)
    link = whole.parent / "other.png"
    link.symlink_to(picture)
    about = [picture, whole / "run.json", whole / "checkpoints" / "best.ckpt"]
    before = [file.read_bytes() for file in about]
    for source, output, said in (
        (link, picture, "it is part of the input"),
        (picture, whole / ".." / "own.png", "it is part of the input"),
        (picture, about[1], "it is not a table of predictions"),
        (picture, about[2], "it is not a table of predictions"),
    ):
        answer = program("predict", f"run={whole}", "trust=true", f"input={source}", f"output={output}")
        assert answer.code == 1
        assert said in answer.err
    assert [file.read_bytes() for file in about] == before


@pytest.mark.filterwarnings("ignore:Encountered `nan` values in tensor")
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, program: Callable[..., Answer]) -> None:
    answer = program("train", *SHORT, "run_dir=run", "optimizer=sgd", "optimizer.lr=900", "task.l1=1e6")
    assert answer.code == 1
    assert "the loss is" in answer.err
    assert "a smaller optimizer.lr" in answer.err
    assert _record(tmp_path / "run")["status"] == "failed"
