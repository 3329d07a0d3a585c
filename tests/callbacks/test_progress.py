"""A line per epoch, in columns."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from conftest import make_phase
from frostline.training.callbacks.measure import RATE
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
    seen = {"train/loss_epoch": torch.tensor(0.5), RATE: torch.tensor(1234.4)}
    trainer: Any = SimpleNamespace(callback_metrics=seen, is_global_zero=True, current_epoch=1)
    for name in names:
        task = SimpleNamespace(scores={"val/loss": "min", "val/accuracy": "max"})
        backbone = SimpleNamespace(blocks={"stem": None})
        module: Any = SimpleNamespace(
            trained=True, phase=make_phase(name), first_epoch=0, phase_names=names, task=task, backbone=backbone
        )
        EpochLines(monitor="val/accuracy").on_train_epoch_end(trainer, module)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(begin)
    assert lines[0].endswith("val/accuracy -  1,234 samples/s")
    assert len({line.index("2/3") for line in lines}) == 1


@pytest.mark.parametrize(
    ("name", "done", "thaws", "left"),
    [
        ("head", 1, True, "  ≈ 4 min left"),  # 220 s: an epoch of 20 s; the other phase takes twice its estimate, too
        ("head", 1, False, "  ≈ 2 min left"),  # 120 s: cached outputs tell nothing of the other phase
        ("all", 4, True, "  ≈ 20 s left"),
        ("all", 5, True, ""),
        ("other", 1, True, ""),
    ],
)
def test_the_time_left_is_that_of_the_whole_plan(name: str, done: int, thaws: bool, left: str) -> None:
    lines = EpochLines(monitor="val/accuracy")
    lines.planned = {"head": 20.0, "all": 100.0}
    found = lines._left(name, 20.0, 2 if name == "head" else 5, done, thaws=thaws)
    assert found == left
    lines.planned = {"head": 20.0, "all": None}
    assert lines._left("head", 20.0, 2, 1, thaws=True) == ""


def test_one_slow_epoch_does_not_set_the_time_left() -> None:
    lines = EpochLines(monitor="val/accuracy")
    lines.on_train_start(None, None)  # type: ignore[arg-type]
    begun = lines._since
    assert [lines._usual(begun + end) for end in (100, 103, 106, 110)] == pytest.approx([100, 51.5, 3, 3.5])
    lines.on_train_start(None, None)  # type: ignore[arg-type]
    assert lines._usual(lines._since + 7) == pytest.approx(7)
