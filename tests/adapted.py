"""Small backbones for the tests of adapters."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vision_transformer import EncoderBlock

from frostline.backbones.base import Backbone
from frostline.contracts.specs import ImageSpec

SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
WIDTH = 12


class Patches(nn.Module):
    """(B, 3, 8, 8) → (B, 4, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_proj(x).flatten(2).transpose(1, 2)
        return out


class Read(nn.Module):
    """Its weights are read, and it is not called, as in torchvision's Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.linear(x, self.proj.weight, self.proj.bias)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def transformer() -> Backbone:
    """torchvision's own layers, and one that reads its weights."""
    torch.manual_seed(0)
    layers = {f"layer{n}": EncoderBlock(3, WIDTH, 24, 0.0, 0.0, partial(nn.LayerNorm, eps=1e-6)) for n in (0, 1)}
    return _random(
        Backbone(
            name="transformer",
            blocks={"stem": Patches(), **layers, "read": Read()},
            pool=Mean(),
            width=WIDTH,
            spec=SPEC,
            loaded="random",
        )
    )


def convolutions() -> Backbone:
    """A grouped one, a dilated one, a strided one, one pixel wide and three."""
    torch.manual_seed(0)
    top = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 6, 1)
    )
    blocks = {"stem": _conv(3, 8, 1), "middle": _conv(8, 8, 2), "top": top}
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return _random(Backbone(name="convolutions", blocks=blocks, pool=pool, width=6, spec=SPEC, loaded="random")).to(
        memory_format=torch.channels_last
    )


def pictures(number: int = 3) -> Tensor:
    x = torch.randn(number, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


def _conv(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, 3, stride, padding=1, bias=stride == 1), nn.BatchNorm2d(width), nn.ReLU()
    )


def _random(backbone: Backbone) -> Backbone:
    """In eval mode, every bias and statistic in play."""
    with torch.no_grad():
        for value in (*backbone.parameters(), *backbone.buffers()):
            if value.ndim == 1:
                value.add_(torch.empty_like(value).uniform_(0, 0.3))
    return backbone.eval()


def moved(backbone: Backbone) -> Backbone:
    """With adapters that do something."""
    from frostline.adapters.layers import adapter_parameters

    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapter_parameters(backbone):
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    return backbone
