"""Optimizers make their steps in one kernel where the settings leave it open, and step alike either way."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from conftest import DEVICE
from frostline.plan.composed import plan_of
from frostline.training.optimizers import optimizers_of


def _made(composed: Callable[..., Any], *overrides: str) -> torch.optim.Optimizer:
    cfg = composed(*overrides)
    return optimizers_of(cfg, plan_of(cfg))["head"]([{"params": [nn.Parameter(torch.ones(5))]}])


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_every_shipped_optimizer_is_fused_and_steps_as_the_plain_one(kind: str, composed: Callable[..., Any]) -> None:
    ways = [_made(composed, f"optimizer={kind}", *more) for more in ((), ("+optimizer.fused=false",))]
    assert [bool(optimizer.defaults["fused"]) for optimizer in ways] == [True, False]
    for optimizer in ways:
        parameter = optimizer.param_groups[0]["params"][0]
        for step in range(3):
            parameter.grad = torch.linspace(-1, 1, 5) * (step + 1)
            optimizer.step()
    fused, plain = (optimizer.param_groups[0]["params"][0] for optimizer in ways)
    assert not torch.equal(plain, torch.ones(5))
    torch.testing.assert_close(fused, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "open_no_more",
    [
        ["+optimizer.foreach=true"],
        ["trainer.precision=16-mixed"],
        ["trainer=fsdp"],
        ["trainer.gradient_clip_val=1", "trainer.precision=bf16-mixed"],
    ],
    ids=["another way is chosen", "gradients are scaled", "parameters are sharded", "gradients are clipped"],
)
def test_where_it_is_not_open_it_stays_as_it_is(open_no_more: list[str], composed: Callable[..., Any]) -> None:
    assert not _made(composed, *open_no_more).defaults["fused"]


def test_one_that_cannot_be_fused_is_made_as_it_is(composed: Callable[..., Any]) -> None:
    kind = "{_target_: torch.optim.RMSprop, _partial_: true, lr: 0.1}"
    assert isinstance(_made(composed, f"+schedule.phases.head.optimizer={kind}"), torch.optim.RMSprop)


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_gradients_are_clipped_in_every_precision(precision: str, program: Callable[..., Any]) -> None:
    quick = ["data.train_limit=40", "data.batch_size=20", "data.image_size=8", "model._target_=tiny.Tiny"]
    quick += ["logger=none", *DEVICE, "schedule=full", "schedule.phases.all.epochs=1"]
    answer = program("train", *quick, f"trainer.precision={precision}", "trainer.gradient_clip_val=1.0", "run_dir=run")
    assert answer.code == 0, answer.err
