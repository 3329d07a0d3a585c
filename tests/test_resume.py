"""A run that was stopped anywhere and resumed ends in the very numbers of the run that was not."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from conftest import Answer
from frostline.cli import main

# Four batches an epoch, two epochs a phase, dropout and augmentation on, float32.
SHORT = ["data.train_limit=200", "data.batch_size=50", "trainer=cpu", "trainer.precision=32-true", "logger=none"]
SHORT += ["schedule.phases.head.epochs=2", "schedule.phases.all.epochs=2", "head=mlp", "head.hidden=[32]"]
STOPPER = "+callbacks.stopper={_target_: test_resume.Stopper}"


class Stopper(L.Callback):
    """Sends this process a signal at a batch of the run, as the environment says: `train 5 15`, `validate 2 15`."""

    def __init__(self) -> None:
        self.seen = {"train": 0, "validate": 0}

    def _count(self, stage: str) -> None:
        wanted, number, signum = os.environ.get("STOP_AT", "never 0 0").split()
        self.seen[stage] += 1
        if wanted == stage and self.seen[stage] == int(number):
            os.kill(os.getpid(), int(signum))

    def on_train_batch_start(self, *_: Any) -> None:
        self._count("train")

    def on_validation_batch_start(self, *_: Any) -> None:
        self._count("validate")


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert _train(folder) == 0
    return folder


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=lambda signum: signum.name)
@pytest.mark.parametrize(
    "moment", ["train 1", "train 3", "train 4", "train 6", "train 8", "train 11", "validate 1", "validate 4"]
)
def test_a_stopped_run_goes_on_to_the_very_same_end(
    moment: str, signum: signal.Signals, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signum == signal.SIGINT and moment not in ("train 6", "validate 4"):
        pytest.skip("the two signals differ in their exit code alone")
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signum)}")
    assert _train(run) == 128 + signum
    monkeypatch.delenv("STOP_AT")
    stopped = _record(run)
    assert (stopped["status"], stopped["error"]["type"]) == ("interrupted", signum.name)
    assert _train(run, f"resume={run}") == 0
    _require_equal(run, whole)


def test_a_run_may_be_stopped_again_while_it_resumes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"train 2 {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    for _ in range(7):  # each goes two batches further, the last batch of an epoch and its validation included
        assert _train(run, f"resume={run}") == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    assert _train(run, f"resume={run}") == 0
    _require_equal(run, whole)


def test_a_moved_folder_keeps_its_best_checkpoint(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    monkeypatch.setenv("STOP_AT", f"train 14 {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    run.rename(moved)
    assert _train(moved, f"resume={moved}") == 0
    _require_equal(moved, whole)
    assert not run.exists()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("epochs: 2", "epochs: 3", "plan was"),
        ("train_limit: 200", "train_limit: 100", "data was"),
        ("seed: 0", "seed: 1", "seed was 0 and is 1"),
    ],
)
def test_a_resume_as_another_run_is_refused_with_the_difference(
    before: str,
    after: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: Callable[..., Answer],
) -> None:
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"train 6 {int(signal.SIGTERM)}")
    assert _train(run) == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    config = run / "config.yaml"
    assert before in config.read_text()
    config.write_text(config.read_text().replace(before, after))
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert said in answer.err
    assert "init_from=" in answer.err
