"""Frozen blocks stay the same and thawed ones learn: every model of conf/model, every `thaw` of conf/schedule."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batches import loss_of
from conftest import PICTURE_MODELS
from frostline.adapters.kinds import Lora
from frostline.backbones.base import Backbone
from frostline.config.instantiate import maker_of
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.heads.vector import LinearHead
from frostline.paths import conf_dir
from frostline.plan.composed import plan_of
from frostline.plan.phase import Phase
from frostline.tasks.classification import Classification
from frostline.training.finetuner import FineTuner

MODELS = sorted(PICTURE_MODELS)
PLANS = sorted(file.stem for file in (conf_dir() / "schedule").glob("*.yaml") if not file.stem.startswith("_"))
LIGHT = {"bundled"}
STEPS = 3  # stochastic depth may leave a layer out of one step for the whole batch


def test_the_folders_were_found() -> None:
    assert {"resnet50", "efficientnet_b0", "vit_b_16"} <= {*MODELS}
    assert {"two_stage", "full", "gradual", "none"} <= {*PLANS}


def ways(composed: Callable[..., Any], blocks: list[str]) -> list[Phase]:
    """The phases of all plans, those that thaw alike once."""
    found: dict[Any, Phase] = {}
    for plan in PLANS:
        for phase in (
            plan_of(composed(f"schedule={plan}"))
            .unfolded(blocks)
            .deep(min(2, len(blocks)))
            .scaled(batch_norms=True)
            .settled(pretrained=False, samples=1, steps_per_epoch=1, solvable=False)
            .phases
        ):
            found.setdefault((tuple(phase.thawed(blocks)), str(phase.only), phase.norm), phase)
    by_adapters = next(phase for phase in found.values() if phase.only == "adapters")
    found["the top block's adapters alone"] = replace(by_adapters, thaw=1)
    return list(found.values())


def settled(backbone: Backbone, size: int) -> None:
    """Random weights with statistics that fit them: else signals die out on their way through a deep network at rest,
    and with them every gradient."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        backbone.train()(torch.randn(8, 3, size, size))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def adapted(backbone: Backbone) -> Backbone:
    """A copy, with adapters in every block, whatever the phase thaws of them."""
    network = copy.deepcopy(backbone)
    Lora(4, 8, 0.0, None, False).put_into(network, list(network.blocks))
    return network


TARGETS = Targets("class", ["a", "b", "c"], [1, 1, 1], {})


def learner(backbone: Backbone, phase: Phase) -> FineTuner:
    settings: dict[str, Any] = {"label_smoothing": 0.0, "class_weights": "none", "l1": 0.0}
    task = Classification(TARGETS, monitor="val/loss", mode="min", **settings)
    adam: Any = lambda groups: torch.optim.Adam(groups, lr=1e-3)  # noqa: E731  # moves by the sign of any gradient
    model = FineTuner(backbone, LinearHead(backbone.features, 3, dropout=0.0), task, {phase.name: adam}, seed=0)
    model.enter(phase, 0, 0)
    return model


def values(model: FineTuner) -> dict[str, Tensor]:
    return {name: value.clone() for split in ("backbone", "head") for name, value in _named(model, split)}


def _named(model: FineTuner, split: str) -> list[tuple[str, Tensor]]:
    module: nn.Module = getattr(model, split)
    return [(f"{split}.{name}", value) for name, value in module.state_dict().items()]


def trained(model: FineTuner, size: int) -> list[bool]:
    """After a few steps: whether the output of the last frozen block below the frost line ever carried a graph."""
    graphs: list[bool] = []
    frozen = model.phase.frost_line(list(model.backbone.blocks))
    hooks = []
    if frozen:
        block = list(model.backbone.blocks.values())[frozen - 1]
        hooks.append(block.register_forward_hook(lambda *seen: graphs.append(seen[-1].requires_grad)))
    optimizer = model.make_optimizer()
    for step in range(STEPS):
        torch.manual_seed(step)
        loss = loss_of(model.task, model(torch.randn(4, 3, size, size)), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        for name, p in model.named_parameters():
            assert (p.grad is None) or p.requires_grad, f"{name} is frozen and has a gradient"
        optimizer.step()
    for hook in hooks:
        hook.remove()
    return graphs


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in LIGHT else pytest.mark.long) for name in MODELS]
)
def test_frozen_is_frozen_and_thawed_learns(name: str, composed: Callable[..., Any]) -> None:
    cfg = composed(f"model={name}", "model.weights=null")
    torch.manual_seed(0)
    backbone: Backbone = maker_of(cfg.model, "model")()  # type: ignore[arg-type]
    spec = backbone.spec
    assert isinstance(spec, ImageSpec)
    size = spec.size if spec.sizes == "fixed" else max(32 if name in LIGHT else 64, spec.min_size)
    phases = ways(composed, list(backbone.blocks))
    assert len(phases) >= 5
    settled(backbone, size)
    start = {name: value.clone() for name, value in backbone.state_dict().items()}
    for phase in phases:
        backbone.load_state_dict(start)
        model = learner(adapted(backbone) if phase.only == "adapters" else backbone, phase)
        before = values(model)
        graphs = trained(model, size)
        after = values(model)
        assert not any(graphs), "a graph below the frost line"
        learning = {key for key, p in model.named_parameters() if p.requires_grad}
        thawed = phase.thawed(list(backbone.blocks))
        for key, value in before.items():
            in_thawed = key.startswith("head.") or key.split(".")[2] in thawed
            statistics = key.endswith(("running_mean", "running_var", "num_batches_tracked"))
            if key in learning or (statistics and in_thawed):
                assert not torch.equal(value, after[key]), f"{key} is thawed in {phase.name} and did not move"
            else:
                assert torch.equal(value, after[key]), f"{key} is frozen in {phase.name} and moved"


def test_frozen_norms_of_thawed_blocks_keep_their_statistics(composed: Callable[..., Any]) -> None:
    backbone: Backbone = maker_of(composed("model=resnet18", "model.weights=null").model, "model")()
    (phase,) = plan_of(composed("schedule=full")).scaled(batch_norms=True).phases
    model = learner(backbone, replace(phase, norm="frozen"))
    before = values(model)
    trained(model, 64)
    after = values(model)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert not [key for key in moved if "running_" in key]
    assert len(moved) == sum(1 for _ in model.parameters())
