"""FSDP on one device, in this process; test_ranks.py has two of them."""

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import DEVICE, Answer
from frostline.training.callbacks.checkpoint_files import LateFiles

TINY = [
    "model._target_=tiny.Tiny",
    "logger=none",
    "data.train_limit=50",
    "data.batch_size=15",
    "data.image_size=8",
    *DEVICE,
]
TINY += ["trainer.precision=32-true", "logger=none", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=2"]
TINY += ["schedule.average.ema_decay=0.9", "schedule.average.wise_ft=[0.5]"]
TINY += ["+callbacks.stopper={_target_: test_resume.Stopper}"]
FSDP = "trainer.strategy=fsdp"


def _state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize(
    "optimizer",
    [["optimizer=sgd", "optimizer.momentum=0"], pytest.param(["optimizer=adamw"], marks=pytest.mark.long)],
)
def test_one_sharded_device_trains_stops_resumes_and_is_evaluated_as_any(
    optimizer: list[str], program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program("train", *TINY, *optimizer, "run_dir=plain").code == 0
    monkeypatch.setattr(
        "frostline.training.callbacks.checkpoint_files.WORTH", math.inf
    )  # the sharded run writes when it has to
    monkeypatch.setattr(LateFiles, "took", 1.0)
    monkeypatch.setenv("STOP_AT", f"train 6 {int(signal.SIGTERM)}")
    assert program("train", *TINY, *optimizer, FSDP, "run_dir=run").code == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    answer = program("train", "resume=run", "trust=true")
    assert answer.code == 0, answer.err
    expected, state = _state(tmp_path / "plain"), _state(tmp_path / "run")
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-6, msg=name)
    record, before = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "plain"))
    assert all(row["samples_per_second"] > 1 for row in record["phases"]), "of the epoch that went on, too"
    assert [found["name"] for found in record["averages"]] == ["ema 0.9", "wise_ft 0.5"]
    for found, other in zip(record["averages"], before["averages"], strict=True):
        assert found["val"]["val/loss"] == pytest.approx(other["val"]["val/loss"], rel=1e-5)
    (score,) = [line for line in answer.out.splitlines() if line.startswith("test ")]
    for strategy in ([], ["trainer.strategy=auto"]):
        assert score in program("evaluate", "run=run", "trust=true", *strategy).out
        assert not torch.distributed.is_initialized(), "a process that ends with a group may abort"


def test_no_command_leaves_a_process_group(program: Callable[..., Answer]) -> None:
    assert program("lr_find", *TINY, FSDP, "lr_find.steps=10").code == 0
    assert not torch.distributed.is_initialized()
