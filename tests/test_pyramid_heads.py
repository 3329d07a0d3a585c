"""Heads on pyramids: what they give, and that each level reaches it."""

from typing import Any

import pytest
import torch

from frostline.contracts.features import Features
from frostline.errors import ConfigError
from frostline.heads.pyramid import Fpn, Unet

WIDTHS, STRIDES = (6, 8, 10, 12), (4, 8, 16, 32)


def features(levels: int = 4) -> Features:
    return Features("pyramid", WIDTHS[-levels:], STRIDES[-levels:])


def maps(levels: int = 4, height: int = 64, width: int = 96) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pairs = zip(WIDTHS[-levels:], STRIDES[-levels:], strict=True)
    return [torch.randn(2, w, height // s, width // s, generator=generator) for w, s in pairs]


def unet(levels: int = 4, **more: Any) -> Unet:
    return Unet(features(levels), 5, **{"channels": [16, 8, 4], "dropout": 0.0} | more)


def fpn(levels: int = 4, **more: Any) -> Fpn:
    given = {"channels": 16, "segmentation_channels": 32, "dropout": 0.0} | more
    return Fpn(features(levels), 5, **given)


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_unet_gives_outputs_at_the_finest_resolution(levels: int) -> None:
    finest = maps(levels)[0]
    assert unet(levels)(maps(levels)).shape == (2, 5, *finest.shape[2:])


def test_an_fpn_gives_outputs_at_the_finest_resolution() -> None:
    assert fpn()(maps()).shape == (2, 5, 16, 24)


@pytest.mark.parametrize("make", [unet, fpn])
def test_every_level_and_every_weight_has_a_part_in_the_outputs(make: Any) -> None:
    """A weight without a gradient would stop DDP."""
    given = [it.requires_grad_() for it in maps()]
    head = make()
    head(given).square().sum().backward()
    assert all(it.grad is not None and bool(it.grad.any()) for it in given)
    assert [name for name, value in head.named_parameters() if value.grad is None] == []


def test_a_unet_with_too_few_widths_is_refused() -> None:
    with pytest.raises(ConfigError, match="returns 4 levels, which need 3 widths, not 2"):
        unet(channels=[16, 8])


def test_an_fpn_takes_four_levels_and_channels_in_groups() -> None:
    with pytest.raises(ConfigError, match="takes 4 levels, but the backbone returns 3") as refused:
        fpn(3)
    assert "head=unet" in refused.value.next_step
    with pytest.raises(ConfigError, match="a multiple of 32") as refused:
        fpn(segmentation_channels=40)
    assert refused.value.next_step == "head.segmentation_channels=64"
