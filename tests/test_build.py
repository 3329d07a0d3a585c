"""How the objects of a run fit together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.commands.lr_find import find
from frostline.commands.lr_find.range_test import RangeTest, RateCurve
from frostline.training import frozen_setup as keeping
from frostline.training.build import Built, build, single_trainer
from test_run import SHORT


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backbones whose outputs are found out by trying, from here on."""
    names: list[str] = []

    def noted(backbone: Any, *others: Any) -> Any:
        names.append(backbone.name)
        return original(backbone, *others)

    original = keeping.outputs_of
    monkeypatch.setattr(keeping, "outputs_of", noted)
    monkeypatch.setattr(keeping, "OUTPUTS", {})
    return names


def test_outputs_are_tried_once_for_all_runs_of_a_sweep_and_anew_where_they_are_others(
    composed: Callable[..., Any], tried: list[str]
) -> None:
    def rows(*overrides: str) -> list[tuple[int, ...]]:
        built = build(composed(*SHORT, *overrides, "run_dir=none"), logs=False)
        assert not any(module.training for module in built.model.backbone.modules())
        return [output.row for output in built.frozen.outputs]

    first = rows()
    assert first[:4] == [(8, 8, 3), (8, 8, 16), (4, 4, 48), (2, 2, 112)]
    assert rows("head=mlp", "optimizer.lr=1", "seed=7", "model.weights=null") == first
    assert tried == ["bundled"]
    assert rows("data.image_size=32")[1] == (32, 32, 16)
    assert rows("trainer.precision=bf16-mixed") == first
    assert len(tried) == 3


def test_a_backbone_of_other_widths_is_another_one(
    composed: Callable[..., Any], tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Widths that no module's text shows: those of a bare parameter."""
    from frostline.backbones.bundled import BundledBackbone

    def grown(self: BundledBackbone, **settings: Any) -> None:
        original(self, **settings)
        self.blocks["stem"].register_parameter("extra", torch.nn.Parameter(torch.zeros(3)))

    overrides = [*SHORT, "model.weights=null", "run_dir=none"]
    build(composed(*overrides), logs=False)
    original = BundledBackbone.__init__
    monkeypatch.setattr(BundledBackbone, "__init__", grown)
    build(composed(*overrides), logs=False)
    assert len(tried) == 2


@pytest.mark.parametrize(("views", "shown"), [("none", [0, 0]), ("fresh", [None, None]), ("2", [2, 2])])
def test_the_views_of_each_phase_belong_to_a_run(
    composed: Callable[..., Any], views: str, shown: list[int | None]
) -> None:
    """`identity` is what a resume compares."""
    chosen = ["data.augment=standard", f"schedule.every_phase.views={views}", "cache=never"]
    built = build(composed(*SHORT, *chosen, "run_dir=none"), logs=False)
    assert built.model.identity["views"] == shown


def test_a_head_is_drawn_by_the_seed_and_not_by_what_was_drawn_before(composed: Callable[..., Any]) -> None:
    def head(*overrides: str) -> torch.Tensor:
        torch.manual_seed(0)
        built = build(composed(*SHORT, *overrides, "run_dir=none"), logs=False)
        return next(built.model.head.parameters())

    drawn = head()
    assert torch.equal(head("model.weights=null"), drawn)
    assert not torch.equal(head("seed=1"), drawn)


LITE = ["model=efficientnet_lite0", "model.weights=null", "trainer=cpu", "data.train_limit=40", "data.image_size=32"]
LITE += ["schedule.every_phase.solve=false", "logger=none", "run_dir=none"]


@pytest.fixture(params=[True, False], ids=["AMX", "no AMX"])
def amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor that multiplies in bfloat16, with and without AMX."""
    pytest.importorskip("timm")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": request.param, "avx512_bf16": True})
    return bool(request.param)


def test_depthwise_convolutions_of_a_run_compute_in_float32_and_others_in_bfloat16_if_there_is_amx(
    composed: Callable[..., Any], amx: bool
) -> None:
    cfg = composed(*LITE)
    built = build(cfg, logs=False)
    network = built.model.backbone
    for trainer in (built.trainer, single_trainer(cfg, network)):
        assert trainer.precision == ("bf16-mixed" if amx else "32-true")
    found: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            depthwise = layer.groups == layer.in_channels
            layer.register_forward_hook(lambda _, inputs, output, kind=depthwise: found[kind].add(output.dtype))
    with built.trainer.precision_plugin.forward_context():
        network(built.data.example())
    assert found == {True: {torch.float32}, False: {torch.bfloat16 if amx else torch.float32}}


def test_lr_find_measures_in_the_precision_of_the_run(
    composed: Callable[..., Any], amx: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def noted(built: Built, trainer_of: find.TrainerOf, test: RangeTest) -> list[RateCurve]:
        precisions.extend([built.trainer.precision, trainer_of([]).precision])
        raise InterruptedError

    precisions: list[str] = []
    monkeypatch.setattr(find, "find_rates", noted)
    with pytest.raises(InterruptedError):
        find.lr_find(composed(*LITE), RangeTest(10, 1e-4, 1.0), tmp_path, typed=[], command="lr_find")
    assert precisions == ["bf16-mixed" if amx else "32-true"] * 2
