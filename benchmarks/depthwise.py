"""Time networks with depthwise convolutions in float32 and in bfloat16: frozen, learning, and layer by layer.

python benchmarks/depthwise.py [rounds] [layers]    # layers: these alone, into a result of their own

Random weights, 32 random pictures at 128 pixels. `frozen` is a forward pass of the frozen pass, uncompiled;
`step` is forward and backward of the whole network in channels_last, in float32, under autocast, and under autocast
with depthwise convolutions in float32 (`training/depthwise.py`). Layers: a convolution's forward pass, the gradient of
its input and that of its weights, alone, at sizes of EfficientNet-Lite0, in channels_last and in NCHW. For depthwise
ones of stride 1 also the gradient of the input as a convolution with flipped weights, and that of the weights as a sum
of shifted products. Medians of alternating rounds. Without AMX: ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16, which gives a
result of its own.
"""

import copy
import itertools
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.backbones.efficientnet_lite import EfficientNetLite
from frostline.backbones.timm import TimmBackbone
from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.frozen.blocks import FrozenPass
from frostline.training.depthwise import keep_float32
from machine import bf16, in_turns, write_result

TORCHVISION = ("mobilenet_v2", "mobilenet_v3_large", "efficientnet_v2_s", "shufflenet_v2_x1_0", "convnext_tiny")
TIMM = ("mobilenetv4_conv_small", "convnextv2_atto")
NETWORKS: dict[str, Callable[[], Backbone]] = {
    "efficientnet_lite0": lambda: EfficientNetLite(0, weights=None, drop_path_rate=None),
    **{name: partial(TorchvisionBackbone, name, weights=None) for name in TORCHVISION},
    **{name: partial(TimmBackbone, name, weights=None, drop_path_rate=None) for name in TIMM},
}
SIDE, BATCH = 128, 32
LAYERS: dict[str, tuple[int, int, int, int, int, int]] = {  # channels in and out, kernel, stride, groups, side
    "depthwise 3 × 3, 96 channels, 64 pixels, stride 2": (96, 96, 3, 2, 96, 64),
    "depthwise 5 × 5, 240 channels, 16 pixels": (240, 240, 5, 1, 240, 16),
    "depthwise 5 × 5, 672 channels, 8 pixels": (672, 672, 5, 1, 672, 8),
    "pointwise 16 to 96 channels, 64 pixels": (16, 96, 1, 1, 1, 64),
    "pointwise 672 to 112 channels, 8 pixels": (672, 112, 1, 1, 1, 8),
}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"": torch.channels_last, ", NCHW": torch.contiguous_format}  # by the end of a way's name
WITHOUT_AMX = os.environ.get("ONEDNN_MAX_CPU_ISA")


def main(rounds: int, *, layers: bool) -> None:
    if layers:
        print(write_result("depthwise_layers", [layer(name, rounds) for name in LAYERS]))
        return
    rows = [*(network(name, rounds) for name in NETWORKS), *(layer(name, rounds) for name in LAYERS)]
    print(write_result("depthwise" if WITHOUT_AMX is None else "depthwise_without_amx", rows))


def network(name: str, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    backbone = NETWORKS[name]().to(memory_format=torch.channels_last)
    kept = copy.deepcopy(backbone)
    keep_float32(kept)
    pictures = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    stop = len(backbone.blocks)
    low = {key: FrozenPass(backbone.eval(), kind) for key, kind in (("float32", None), ("bfloat16", torch.bfloat16))}
    return printed(
        name,
        in_turns(
            {
                "frozen, float32": lambda: low["float32"](pictures, 0, stop),
                "frozen, bfloat16": lambda: low["bfloat16"](pictures, 0, stop),
                "step, float32": lambda: step(backbone, pictures, autocast=False),
                "step, bfloat16": lambda: step(backbone, pictures, autocast=True),
                "step, depthwise in float32": lambda: step(kept, pictures, autocast=True),
            },
            rounds,
        ),
    )


def step(backbone: Backbone, pictures: Tensor, *, autocast: bool) -> None:
    backbone.train()
    with bf16() if autocast else nullcontext():
        loss = backbone(pictures).float().square().mean()
    loss.backward()
    backbone.zero_grad(set_to_none=True)


def layer(name: str, rounds: int) -> dict[str, Any]:
    inputs, outputs, kernel, stride, groups, side = LAYERS[name]
    ways: dict[str, Callable[[], Any]] = {}
    for (key, kind), (end, layout) in itertools.product(TYPES.items(), LAYOUTS.items()):
        torch.manual_seed(0)
        x = torch.randn(BATCH, inputs, side, side).to(kind).contiguous(memory_format=layout)
        own = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        own = own.to(kind).to(memory_format=layout)
        slope = torch.randn_like(own(x).detach())
        for part, asked in {"forward": None, "input": (True, False), "weights": (False, True)}.items():
            ways[f"{part}, {key}{end}"] = _of_layer(own, x, slope, asked)
        if groups == inputs and stride == 1:
            ways[f"input, flipped, {key}{end}"] = partial(flipped, own.weight.detach(), slope)
            ways[f"weights, shifted, {key}{end}"] = partial(shifted, x, slope, kernel)
            if kind == torch.float32:
                torch.testing.assert_close(ways[f"input, flipped, {key}{end}"](), ways[f"input, {key}{end}"]()[0])
                found, expected = ways[f"weights, shifted, {key}{end}"](), ways[f"weights, {key}{end}"]()[1]
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    return printed(name, in_turns(ways, rounds))


def flipped(weight: Tensor, slope: Tensor) -> Tensor:
    """The gradient of a depthwise convolution's input, at stride 1."""
    return nn.functional.conv2d(slope, weight.flip(2, 3), padding=weight.shape[-1] // 2, groups=len(weight))


def shifted(x: Tensor, slope: Tensor, kernel: int) -> Tensor:
    """The gradient of a depthwise convolution's weights, (C, 1, k, k), at stride 1."""
    padded, side = nn.functional.pad(x, 4 * [kernel // 2]), x.shape[-1]
    shifts = itertools.product(range(kernel), repeat=2)
    sums = [(padded[..., i : i + side, j : j + side] * slope).sum((0, 2, 3)) for i, j in shifts]
    return torch.stack(sums, 1).view(-1, 1, kernel, kernel)


def _of_layer(own: nn.Conv2d, x: Tensor, slope: Tensor, asked: tuple[bool, bool] | None) -> Callable[[], Any]:
    """asked: whether the gradients of input and weights are wanted; None: the forward pass."""

    def forward() -> Any:
        with torch.no_grad():
            return own(x)

    def gradient() -> Any:
        assert asked is not None
        return torch.ops.aten.convolution_backward(
            slope,
            x,
            own.weight,
            None,
            own.stride,
            own.padding,
            own.dilation,
            False,
            [0, 0],
            own.groups,
            [*asked, False],
        )

    return forward if asked is None else gradient


def printed(name: str, seconds: dict[str, float]) -> dict[str, Any]:
    print(f"{name}\n" + "\n".join(f"  {way:32} {1000 * each:9.2f} ms" for way, each in seconds.items()), flush=True)
    return {"what": name, "seconds": seconds}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7, layers=sys.argv[2:] == ["layers"])
