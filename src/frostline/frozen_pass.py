"""The frozen blocks at work: what they give for a sample depends on that sample alone.

Kernels choose their way by the size of a batch, and with it the last bits of a sum: in float32 on CPUs the features of
a picture differ between batches of 16 and of 17 (resnet50, vgg16, densenet121), and do not between batches of one size,
whatever else is in them. So all frozen work is done in chunks of one size, a last one filled up: then outputs that were
kept are, bit for bit, those that would be computed again.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.utils.flop_counter import FlopCounterMode

from frostline.backbones.base import Backbone

CHUNK = 16  # with 4, some networks gave other bits on two threads than on one (mobilenet_v3_small, densenet121)


def frozen_pass(backbone: Backbone, inputs: Tensor, start: int, stop: int) -> Tensor:
    """(B, ...), what `start` blocks gave → what `stop` blocks give, without a graph. The blocks are in eval mode."""
    if any(isinstance(block, FSDPModule) for block in backbone.blocks.values()):
        with torch.no_grad():  # shards are gathered together: each rank has to do as many chunks as the others
            return backbone.through(inputs, start, stop)
    with torch.inference_mode():
        chunks = [_chunk(backbone, chunk, start, stop) for chunk in inputs.split(CHUNK)]
    return torch.cat(chunks)  # outside: what comes from inference mode cannot be differentiated further on


def _chunk(backbone: Backbone, inputs: Tensor, start: int, stop: int) -> Tensor:
    size = len(inputs)
    if size < CHUNK:
        inputs = torch.cat([inputs, inputs.new_zeros(CHUNK - size, *inputs.shape[1:])])
    if inputs.ndim == 4 and not inputs.is_contiguous():
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    return backbone.through(inputs, start, stop)[:size]


class Output(NamedTuple):
    """What some blocks give for one sample. row: its shape as it is kept; channels_last: (H, W, C) for (C, H, W)."""

    row: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    flops: float

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.row).numel() * self.dtype.itemsize


def outputs_of(backbone: Backbone, sample: Tensor) -> list[Output]:
    """Of 0, 1, ... all blocks, by trying. sample (1, ...): one input of the backbone, which is left in eval mode."""
    backbone.eval()
    found, flops = [_output(sample, 0.0)], 0.0
    for number in range(len(backbone.blocks)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            sample = backbone.through(sample, number, number + 1)
        flops += counter.get_total_flops()
        found.append(_output(sample, flops))
    return found


def to_rows(x: Tensor, output: Output) -> Tensor:
    """(B, ...) as it is kept: in the order in which it lies in memory."""
    return x.permute(0, 2, 3, 1) if output.channels_last else x


def from_rows(rows: Tensor, output: Output) -> Tensor:
    return rows.permute(0, 3, 1, 2) if output.channels_last else rows


def _output(x: Tensor, flops: float) -> Output:
    last = _channels_last(x)
    return Output(tuple((x.permute(0, 2, 3, 1) if last else x).shape[1:]), x.dtype, last, flops)


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
