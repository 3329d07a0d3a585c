"""Each run of a sweep starts ranks of its own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ASIDE, Answer
from faked import FOUND
from forked import ran
from frostline.commands.train import NOT_HERE
from frostline.runs.record import Record

pytestmark = [pytest.mark.process, *(pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE)]

RANKED = Path(__file__).with_name("ranked.py")
RANKS = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
# What ranks compute is then what one process computes.
SAME = ["data.train_limit=40", "data.batch_size=10", "data.image_size=8", "data.augment=none", "optimizer=sgd"]
SAME += ["schedule=head_only", "schedule.phases.head.epochs=1", "schedule.every_phase.solve=false"]
SAME += ["schedule.every_phase.min_steps=0", "trainer.precision=32-true", "logger=none", *ASIDE]


def weights(run: Path) -> dict[str, torch.Tensor]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    found: dict[str, torch.Tensor] = content["state_dict"]
    return found


def test_two_ranks_train_each_job_of_a_sweep_as_one_process_trains_it_alone(
    program: Callable[..., Answer], tmp_path: Path
) -> None:
    rates = ["0.1", "0.01"]
    sweep = ["-m", *RANKS, *SAME, f"optimizer.lr={','.join(rates)}", "sweep.test=none", "hydra.sweep.dir=S"]
    environment = {**os.environ, **FOUND, "OMP_NUM_THREADS": "1"}
    answer = ran(str(RANKED), "train", *sweep, cwd=tmp_path, env=environment, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    runs = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("run.json"))
    assert runs == ["S/0", "S/1"], "one folder for both ranks"
    for run, rate in zip(runs, rates, strict=True):
        own = ["trainer=cpu", f"optimizer.lr={rate}", "test=false", f"run_dir={run}-alone"]
        assert program("train", *SAME, *own).code == 0
        expected, found = (Record.read(tmp_path / name).metrics for name in (f"{run}-alone", run))
        assert found == pytest.approx(expected, abs=1e-4)
        alone = weights(tmp_path / f"{run}-alone")
        for name, value in weights(tmp_path / run).items():
            torch.testing.assert_close(value, alone[name], rtol=1e-4, atol=1e-6, msg=f"{run}: {name}")
