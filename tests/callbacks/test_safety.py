"""When a long epoch is saved on its way."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from frostline.distributed.signals import HEARD, stoppable
from frostline.training.callbacks.checkpoint_files import LateFiles
from frostline.training.callbacks.safety import Safety


def trainer_of(files: LateFiles, saved: list[Path]) -> Any:
    """Stop in the middle of an epoch, after an optimizer step."""
    epoch_loop = SimpleNamespace(batch_progress=SimpleNamespace(is_last_batch=False))
    return SimpleNamespace(
        strategy=SimpleNamespace(checkpoint_io=files),
        fit_loop=SimpleNamespace(epoch_loop=epoch_loop),
        accumulate_grad_batches=1,
        is_global_zero=True,
        world_size=1,
        save_checkpoint=saved.append,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`clock.now`: seconds, of what the files of checkpoints read."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("frostline.training.callbacks.checkpoint_files.time.monotonic", lambda: clock.now)
    return clock


def test_work_of_more_than_ten_minutes_is_saved(composed: Any, clock: SimpleNamespace, tmp_path: Path) -> None:
    minutes = composed("run_dir=none").callbacks.safety.every_minutes
    safety, files, saved = Safety(dirpath=str(tmp_path), every_minutes=minutes), LateFiles(), list[Path]()
    trainer: Any = trainer_of(files, saved)
    files.begin()
    for seconds, times in ((0, 0), (599, 0), (600, 0), (601, 1)):
        clock.now = 1000 + seconds
        safety.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
        assert saved == [tmp_path / "last.ckpt"] * times, seconds


def test_the_ten_minutes_begin_anew_with_each_write_and_writing_is_no_work(
    clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: Any) -> None:
        clock.now += 50

    files, place = LateFiles(), tmp_path / "last.ckpt"
    monkeypatch.setattr("frostline.training.callbacks.checkpoint_files.WholeFiles.save_checkpoint", slow)
    files.begin()
    clock.now += 700
    assert files.unsaved_seconds(place) == 700
    files.save_checkpoint({"state_dict": {"w": torch.zeros(1)}}, place)
    assert files.unsaved_seconds(place) == 0
    clock.now += 30
    assert files.unsaved_seconds(place) == 30
    assert files.unsaved_seconds(tmp_path / "best.ckpt") == 730, "the 50 seconds of the write left out"


@pytest.mark.parametrize(("batch", "accumulated", "last"), [(0, 2, False), (1, 2, True)])
def test_nothing_is_saved_between_steps_or_at_the_end_of_an_epoch(
    batch: int, accumulated: int, last: bool, clock: SimpleNamespace, tmp_path: Path
) -> None:
    safety, files, saved = Safety(dirpath=str(tmp_path), every_minutes=10), LateFiles(), list[Path]()
    trainer: Any = trainer_of(files, saved)
    trainer.accumulate_grad_batches = accumulated
    trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = last
    files.begin()
    clock.now += 10_000
    safety.on_train_batch_end(trainer, None, None, None, batch)  # type: ignore[arg-type]
    assert saved == []
    trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = False
    safety.on_train_batch_end(trainer, None, None, None, 1)  # type: ignore[arg-type]
    assert saved == [tmp_path / "last.ckpt"]


def test_a_signal_that_was_noted_is_one_that_was_handled(tmp_path: Path) -> None:
    """The watcher of signals may look at one only once the handler of the command is back."""
    safety, before = Safety(dirpath=str(tmp_path), every_minutes=10), signal.getsignal(signal.SIGTERM)
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None, checkpoint_io=LateFiles()))
    with stoppable():
        handler = signal.getsignal(signal.SIGTERM)
        safety.setup(trainer, None, "fit")  # type: ignore[arg-type]
        safety.on_train_start(trainer, None)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        safety.teardown(trainer, None, "fit")  # type: ignore[arg-type]
        assert signal.getsignal(signal.SIGTERM) is handler
        assert HEARD.is_set()
    assert signal.getsignal(signal.SIGTERM) is before
