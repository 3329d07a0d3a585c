"""A task of one's own for tables, which is none of Frostline's: it gets their baselines if it has `encode`."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from torch import Tensor
from torch.nn.functional import mse_loss

from conftest import Answer
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.runs.predictions import read
from frostline.runs.record import Record
from frostline.tasks.all_samples import Gathered
from frostline.tasks.base import Metrics, Task


class Tenths(Task):
    """Outputs are a tenth of the targets."""

    kind = "numbers"
    gives_numbers = True

    def __init__(self, targets: Targets, *, l1: float, monitor: str, mode: Literal["max", "min"]) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores={"mae": "min"})
        self.names = targets.names

    @property
    def num_outputs(self) -> int:
        return len(self.names)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"loss": mse_loss(outputs, batch.targets / 10)}

    def metrics(self) -> "MeanError":
        return MeanError()

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        return [*(10 * outputs)]

    def encode(self, predictions: Tensor) -> Tensor:
        return predictions / 10

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"target": batch.targets, "predicted": 10 * outputs}

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        return {name: [f"{row[place]:g}" for row in predictions] for place, name in enumerate(self.names)}


class MeanError(Metrics):
    def __init__(self) -> None:
        super().__init__()
        self.gathered = Gathered()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.gathered.update(outputs, batch.targets)

    def compute(self) -> dict[str, float]:
        outputs, targets = self.gathered.samples()
        return {"mae": (10 * outputs - targets).abs().mean().item(), "n": len(targets)}

    def per_class(self) -> list[dict[str, Any]]:
        return []

    def reset(self) -> None:
        self.gathered.reset()


def test_numbers_of_ones_own_have_baselines(program: Callable[..., Answer]) -> None:
    draw = random.Random(0)
    rows = [(age, 3 * age + draw.gauss(0, 0.1)) for age in (draw.gauss(5, 2) for _ in range(200))]
    Path("it.csv").write_text("age,price\n" + "".join(f"{age:.4f},{price:.4f}\n" for age, price in rows))
    own = ["task=regression", "task._target_=test_own_table_task.Tenths", "task.monitor=val/mae", "task.mode=min"]
    plan = [
        "model=fusion",
        "data=table",
        "data.file=it.csv",
        "data.target_columns=[price]",
        "schedule=head_only",
        "report=false",
    ]
    answer = program("train", *own, *plan, "schedule.phases.head.epochs=1", "trainer=cpu", "logger=none", "run_dir=run")
    assert answer.code == 0, answer.err
    record, target = Record.read(Path("run")), read(Path("run"), "val").columns["target"]
    found = {name: record.baselines[name]["val/mae"] for name in ("mean", "ridge", "pairs", "trees")}
    assert found["mean"] == pytest.approx(np.abs(target - record.data["targets"]["about"]["mean"]).mean(), rel=1e-5)
    assert found["ridge"] < 0.2 < found["mean"]
