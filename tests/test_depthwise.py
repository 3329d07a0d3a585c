"""Depthwise convolutions compute in float32 within a network in bfloat16 on a CPU, forward and backward."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from frostline.training.depthwise import keep_float32


class Padded(nn.Conv2d):
    """Pads by itself, as timm's Conv2dSame."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


DEPTHWISE = {
    "plain": lambda: nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
    "padded": lambda: Padded(8, 8, 3, stride=2, groups=8, bias=False),
    "two outputs a channel": lambda: nn.Conv2d(8, 16, 3, padding=1, groups=8),
}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("name", DEPTHWISE)
def test_outputs_and_gradients_are_those_of_float32(name: str) -> None:
    plain = DEPTHWISE[name]()
    kept = copy.deepcopy(plain)
    keep_float32(kept)
    x = torch.randn(4, 8, 9, 9).bfloat16().float()  # as the layer before gives it
    wanted = plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = kept(x.bfloat16())
        assert plain(x.bfloat16()).dtype == torch.bfloat16  # which a layer that is left alone gives
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    for layer, outputs in ((plain, wanted), (kept, found)):
        outputs.square().sum().backward()
        assert layer.weight.grad is not None
    assert torch.equal(plain.weight.grad, kept.weight.grad)


def test_other_layers_compute_in_bfloat16() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=4), nn.Conv2d(1, 8, 3))
    keep_float32(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert network[:2](torch.randn(1, 8, 9, 9)).dtype == torch.bfloat16
        assert network[2](torch.randn(1, 1, 9, 9)).dtype == torch.bfloat16


def test_a_copy_has_weights_of_its_own_and_may_be_in_bfloat16() -> None:
    layer = DEPTHWISE["plain"]()
    keep_float32(layer)
    x = torch.randn(2, 8, 9, 9)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.zero_()
        other.bias.zero_()
    assert not other(x).any()
    assert layer(x).any()
    assert copy.deepcopy(layer).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_norms_are_fused_into_such_a_convolution() -> None:
    network = nn.Sequential(DEPTHWISE["plain"](), nn.BatchNorm2d(8)).eval()
    network[1].running_mean += 1
    keep_float32(network)
    fused = fuse(network)
    assert not any(isinstance(it, nn.BatchNorm2d) for it in fused.modules())
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(fused(x), network(x))
