"""The contract that every backbone keeps."""

import pytest
import torch
from torch import nn

from frostline.backbones.base import Backbone
from frostline.contracts.specs import ImageSpec

SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def chain(pool: nn.Module) -> Backbone:
    blocks = {"stem": nn.Conv2d(3, 4, 3), "zeta": nn.Tanh(), "alpha": nn.Conv2d(4, 5, 3)}
    return Backbone(name="small", blocks=blocks, pool=pool, width=5, spec=SPEC, loaded="random, from scratch")


def test_blocks_keep_the_order_they_were_given_in() -> None:
    backbone = chain(nn.Flatten(1))
    assert list(backbone.blocks) == ["stem", "zeta", "alpha"]
    assert [name for name, _ in backbone.named_parameters()] == [
        "blocks.stem.weight", "blocks.stem.bias", "blocks.alpha.weight", "blocks.alpha.bias",
    ]  # fmt: skip


def test_forward_is_the_chain_and_then_the_pool() -> None:
    backbone = chain(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)))
    pictures = torch.randn(2, 3, 8, 8)
    stem, alpha = backbone.blocks["stem"], backbone.blocks["alpha"]
    below = torch.tanh(nn.functional.conv2d(pictures, stem.weight, stem.bias))
    expected = nn.functional.conv2d(below, alpha.weight, alpha.bias).mean((2, 3))
    assert torch.allclose(backbone(pictures), expected, atol=1e-6)


def test_a_pool_with_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="the pool of small has parameters"):
        chain(nn.Sequential(nn.Flatten(1), nn.LayerNorm(5)))


def test_a_backbone_brings_its_words_along() -> None:
    backbone = chain(nn.Flatten(1))
    assert (backbone.name, backbone.features.width, backbone.spec) == ("small", 5, SPEC)
    assert backbone.loaded == "random, from scratch"
