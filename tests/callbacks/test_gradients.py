"""Norms of gradients: one for each block, as torch computes them."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn

from frostline.training.callbacks.gradients import GradientNorms


def test_norms_are_torchs() -> None:
    head, stem = nn.Linear(3, 2), nn.Linear(4, 3)
    head(stem(torch.randn(5, 4))).square().sum().backward()
    groups = [
        {"name": "head", "params": [head.weight], "lr": 0.1},
        {"name": "head/no_decay", "params": [head.bias], "lr": 0.1},
        {"name": "stem", "params": [stem.weight, stem.bias, nn.Parameter(torch.zeros(1))], "lr": 0.1},
    ]
    logged: list[tuple[dict[str, float], int]] = []
    logger = SimpleNamespace(log_metrics=lambda norms, step: logged.append((norms, step)))
    trainer: Any = SimpleNamespace(loggers=[logger], log_every_n_steps=2, global_step=0)
    optimizer: Any = torch.optim.SGD(groups)
    for step in range(3):
        trainer.global_step = step
        GradientNorms().on_before_optimizer_step(trainer, None, optimizer)  # type: ignore[arg-type]
    assert [step for _, step in logged] == [0, 2]
    for norms, _ in logged:
        assert {*norms} == {"gradient/head", "gradient/stem"}
        for name, module in (("head", head), ("stem", stem)):
            truth = nn.utils.get_total_norm([it.grad for it in module.parameters() if it.grad is not None])
            assert norms[f"gradient/{name}"] == pytest.approx(float(truth), rel=1e-6)
    trainer.loggers = [DummyLogger()]
    trainer.global_step = 4
    GradientNorms().on_before_optimizer_step(trainer, None, optimizer)  # type: ignore[arg-type]
    assert len(logged) == 2
