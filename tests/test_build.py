"""How the objects of a run fit together."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from frostline.training import frozen_setup as keeping
from frostline.training.build import build
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
