"""Curves on a disk that is full."""

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import SMALL, Answer
from frostline.commands.train import NOT_HERE
from frostline.training.callbacks.curves import Curves, Refusable

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]


def full(after: int) -> Callable[..., None]:
    """Replaces `Refusable.__init__`: the file accepts a limited number of records."""

    class File:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, after

        def write(self, content: bytes) -> None:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.file.write(content)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    def made(self: Refusable, file: Any, curves: Curves) -> None:
        self._file, self._curves = File(file), curves

    return made


@pytest.mark.parametrize("after", [0, 5])
def test_a_disk_that_is_full_ends_the_curves_and_not_the_run(
    after: int, program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusable, "__init__", full(after))
    answer = program("train", *SMALL, "schedule=head_only", "run_dir=run")
    assert answer.code == 0, answer.err
    assert answer.err.count("cannot write more curves: No space left on device") == 1
    assert (tmp_path / "run" / "run.json").is_file()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    logger = Curves(str(tmp_path), name="", version="it")
    logger.log_metrics({"a": 1.5}, step=3)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "it")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("a")] == [(3, 1.5)]


def test_a_resume_hides_what_it_repeats(tmp_path: Path) -> None:
    """Steps 3 and 4 were logged by a process that was killed after the checkpoint at step 3."""
    for first, values in ((0, [0.0, 1.0, 2.0, 30.0, 40.0]), (3, [3.0, 4.0, 5.0])):
        logger = Curves(str(tmp_path), name="", version="it")
        if first:
            logger.resume_at(first)
        for step, value in enumerate(values, first):
            logger.log_metrics({"a": value}, step=step)
        logger.finalize("success")
        logger.experiment.close()
        time.sleep(1.01)  # files are read in the order of their names, which have the second
    events = EventAccumulator(str(tmp_path / "it")).Reload()
    assert [event.value for event in events.Scalars("a")] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
