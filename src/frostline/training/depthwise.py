"""Depthwise convolutions on CPUs. In bfloat16, oneDNN's gradients of their weights take up to 5 times as long as in
float32, and the gradient of their input 8 times if the stride is 2, while pointwise ones are 1.3 to 2.6 times as fast.
With these convolutions in float32, a step in bfloat16 is 1.1 to 1.9 times as fast as one in float32 on a processor
with AMX, and 0.9 to 1.04 times with AMX turned off (benchmarks/depthwise.py, eight networks).
"""

from functools import partial

import torch
from torch import Tensor, nn


def has_depthwise(network: nn.Module) -> bool:
    return any(_is_depthwise(it) for it in network.modules())


def keep_float32(network: nn.Module) -> None:
    """Let depthwise convolutions compute in float32 under autocast on CPUs. Copies in bfloat16 are left alone: the
    frozen pass has no gradients."""
    for it in network.modules():
        if _is_depthwise(it):
            it.forward = partial(_forward, it)  # the type stays: norms are fused by it


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def _forward(layer: nn.Module, x: Tensor) -> Tensor:
    forward = type(layer).forward
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or layer.weight.dtype != torch.float32:
        return forward(layer, x)
    with torch.autocast("cpu", enabled=False):
        return forward(layer, x.float())
