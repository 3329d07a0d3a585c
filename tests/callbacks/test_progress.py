"""A line per epoch, in columns."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from conftest import make_phase
from frostline.training.callbacks.progress import EpochLines


@pytest.mark.parametrize(
    ("names", "begin"),
    [
        (["head", "all"], "    head     2/3   loss 0.5000"),
        (["head", "the_upper_blocks"], f"{'head':>16}     2/3   loss 0.5000"),
    ],
)
def test_columns_stand_where_the_longest_name_of_a_phase_lets_them(
    names: list[str], begin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer: Any = SimpleNamespace(
        callback_metrics={"train/loss_epoch": torch.tensor(0.5)}, is_global_zero=True, current_epoch=1
    )
    for name in names:
        task = SimpleNamespace(scores={"val/loss": "min", "val/accuracy": "max"})
        module: Any = SimpleNamespace(trained=True, phase=make_phase(name), first_epoch=0, phase_names=names, task=task)
        EpochLines(monitor="val/accuracy").on_train_epoch_end(trainer, module)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(begin)
    assert len({line.index("2/3") for line in lines}) == 1
