"""The frozen blocks at work: what they give for a sample depends on that sample alone.

Kernels choose their way by the size of a batch, and with it the last bits of a sum: in float32 on CPUs the features of
a picture differ between batches of 16 and of 17 (resnet50, vgg16, densenet121), and do not between batches of one size,
whatever else is in them. So all frozen work is done in chunks of one size, a last one filled up: then outputs that were
kept are, bit for bit, those that would be computed again.
"""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.fx import GraphModule, Tracer
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from frostline.adapters.layers import folded
from frostline.backbones.base import Backbone
from frostline.contracts.specs import Spec, TextSpec
from frostline.contracts.tokens import Tokens, values_of
from frostline.frozen.compile import compiled_for_inference

SMALL = 64  # pixels a side
# Up to so many tokens, lengths are filled up to a multiple of. Of trec6's 8 to 40 tokens two threads with AVX512-BF16
# made 9,600 a second in steps of 4 and chunks of 32; in steps of 8 or 2, or chunks of 64 or 16, 2 to 10 % fewer.
WIDTHS = ((32, 4), (64, 8), (128, 16), (1 << 30, 32))
TOKENS = 2048  # of a chunk, at most, where texts are long
FEWEST = 8  # texts of a chunk; powers of two, so that chunks fit into each other
# The most. On an H200 chunks of 32 short texts took 5 ms each (82,534 tokens/s, text_step.py, 2026-11-27), far more
# than their arithmetic; larger ones are not measured. A batch whose outputs are not kept is filled up to as many.
MOST = {"cpu": 32, "other": 128}


def chunk_of(spec: Spec, device: torch.device) -> int:
    """How many samples at a time. With 4, some networks gave other bits on two threads than on one
    (mobilenet_v3_small, densenet121); CPUs are fastest with 16 of 224 pixels and with 64 of 32; others want more.
    """
    if isinstance(spec, TextSpec):
        return 8 * MOST["cpu" if device.type == "cpu" else "other"]  # sorted by length, so that few are filled up
    return (64 if spec.size <= SMALL else 16) * (1 if device.type == "cpu" else 4)


def texts_of(width: int, device: torch.device) -> int:
    """How many texts of so many tokens at a time."""
    tokens, most = (TOKENS, MOST["cpu"]) if device.type == "cpu" else (TOKENS * 8, MOST["other"])
    return min(max(1 << (max(tokens // width, 1).bit_length() - 1), FEWEST), most)


class FrozenPass:
    """low: the type in which frozen blocks compute; None for that of the inputs, and of what is around.
    compiles: in a low type only; in float32 compiled blocks would give other bits.

    In a low type it works with a copy of the blocks that serves nothing else: of that type, and with adapters and norms
    of batches folded into the weights beside them. The copy is made when it is first needed, and forgotten where
    weights may have changed.
    """

    def __init__(self, backbone: Backbone, low: torch.dtype | None = None, *, compiles: bool = False) -> None:
        self.backbone = backbone
        self.low = low
        self.compiles = compiles and low is not None
        self._copies: dict[int, Callable[[Any], Any]] = {}

    def forget(self) -> None:
        self._copies = {}

    def through(self, x: Any, start: int, stop: int) -> Any:
        """As `Backbone.through`."""
        return self.backbone.through(x, start, stop, steps=self)

    def __call__(self, inputs: Tensor | Tokens, start: int, stop: int) -> Tensor | Tokens:
        """(B, ...), what `start` blocks gave → what `stop` blocks give, without a graph. They are in eval mode."""
        if any(isinstance(block, FSDPModule) for block in self.backbone.blocks.values()):
            with torch.no_grad():  # shards are gathered together: each rank has to do as many chunks as the others
                return self.backbone.steps(inputs, start, stop)
        if isinstance(inputs, Tokens):
            return self._of_tokens(inputs, start, stop)
        with torch.inference_mode(), self._precision(inputs.device):
            inputs = inputs if self.low is None else inputs.to(self.low)
            chunks = [self._chunk(chunk, start, stop) for chunk in inputs.split(self.chunk(inputs.device))]
        return torch.cat(chunks)  # outside: what comes from inference mode cannot be differentiated further on

    def _of_tokens(self, x: Tokens, start: int, stop: int) -> Tensor | Tokens:
        """Texts of about one length at a time, in chunks whose shape follows from a text's own length."""
        widths = self._widths(x.mask.sum(1))
        found: list[tuple[Tensor, Tensor | Tokens]] = []
        with torch.inference_mode(), self._precision(x.mask.device):
            for width in widths.unique().tolist():
                places = (widths == width).nonzero().flatten()
                for rows in places.split(texts_of(width, x.mask.device)):
                    found.append((rows, self._token_chunk(x, rows, width, start, stop)))
        first = values_of(found[0][1])
        length = x.mask.shape[1]
        shape = first.shape[1:] if isinstance(found[0][1], Tensor) else (length, *first.shape[2:])
        out = first.new_zeros(len(x.mask), *shape)  # outside: see above
        for rows, part in found:
            if isinstance(part, Tensor):
                out[rows] = part[: len(rows)]
            else:  # and nothing where padding is: so a batch is the same, whatever its texts stood beside before
                width = min(length, part.mask.shape[1])
                kept = part.values[: len(rows), :width].masked_fill(~x.mask[rows, :width, None], 0)
                out[rows, :width] = kept
        return out if isinstance(found[0][1], Tensor) else Tokens(out, x.mask)

    def _widths(self, lengths: Tensor) -> Tensor:
        """(B,) tokens to which each text is filled up."""
        assert isinstance(self.backbone.spec, TextSpec)
        widths = torch.zeros_like(lengths)
        for most, step in WIDTHS:
            widths = torch.where((widths == 0) & (lengths <= most), -(-lengths // step) * step, widths)
        return widths.clamp(max=self.backbone.spec.max_length)

    def _token_chunk(self, x: Tokens, rows: Tensor, width: int, start: int, stop: int) -> Tensor | Tokens:
        size, length = texts_of(width, x.mask.device), min(width, x.mask.shape[1])
        low = self.low if x.values.is_floating_point() else None
        values = x.values.new_zeros(size, width, *x.values.shape[2:], dtype=low)
        mask = x.mask.new_zeros(size, width)
        mask[:, 0] = True  # a text of nothing has nothing to attend to
        values[: len(rows), :length] = x.values[rows, :length]
        mask[: len(rows), :length] = x.mask[rows, :length]
        return self._through(Tokens(values, mask), start, stop)

    def chunk(self, device: torch.device) -> int:
        return chunk_of(self.backbone.spec, device)

    def filling(self, device: torch.device) -> list[Any]:
        """What the shapes of chunks follow from, on which bits may depend."""
        if not isinstance(self.backbone.spec, TextSpec):
            return [self.chunk(device)]
        return [WIDTHS, *(texts_of(width, device) for _, width in WIDTHS), texts_of(TOKENS, device)]

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return nullcontext() if self.low is None else torch.autocast(device.type, enabled=False)

    def _chunk(self, x: Tensor, start: int, stop: int) -> Tensor:
        size, whole, last = len(x), self.chunk(x.device), x.ndim == 4 and not x.is_contiguous()
        if size < whole:
            x = torch.cat([x, x.new_zeros(whole - size, *x.shape[1:])])
        if last:  # filled up or not: layers whose weights lie otherwise choose their kernels by it (LoRA's, on GPUs)
            x = x.contiguous(memory_format=torch.channels_last)
        return self._through(x, start, stop)[:size]  # type: ignore[return-value]

    def _through(self, x: Tensor | Tokens, start: int, stop: int) -> Tensor | Tokens:
        if self.low is None:
            return self.backbone.steps(x, start, stop)
        for number in range(start, stop):
            x = self._copy(number)(x)
        return self.backbone.pool(x) if start < stop == len(self.backbone.blocks) else x

    def _copy(self, number: int) -> Callable[[Any], Any]:
        if number not in self._copies:
            assert self.low is not None
            low = lowered(list(self.backbone.blocks.values())[number], self.low)
            self._copies[number] = compiled_for_inference(low) if self.compiles else low
        return self._copies[number]


def lowered(block: nn.Module, low: torch.dtype) -> nn.Module:
    """A copy for inference. Adapters become part of the weights before these are rounded. Norms of batches that no
    convolution takes in stay in float32: variances need its range."""
    block = copy.deepcopy(block).eval().requires_grad_(False)
    block.__dict__.pop("forward", None)  # compiled in place, and bound to the block that was copied
    block = folded(block)
    if any(isinstance(module, _BatchNorm) for module in block.modules()):
        block = _folded(block)
    for module in block.modules():
        if not isinstance(module, _BatchNorm):
            for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if value.is_floating_point():
                    value.data = value.data.to(low)
    return block.to(memory_format=torch.channels_last)


class _NormsWhole(Tracer):
    """Norms of batches stay modules, also timm's, which are followed by an activation: their type is told by that."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _BatchNorm) or super().is_leaf_module(m, module_qualified_name)


def _folded(block: nn.Module) -> nn.Module:
    try:
        tracer = _NormsWhole()
        folded: nn.Module = fuse(GraphModule(block, tracer.trace(block)), no_trace=True)
    except (TraceError, TypeError):  # its way depends on its input: it stays as it is
        return block
    return folded


class Output(NamedTuple):
    """What some blocks give for one sample. row: its shape as it is kept; channels_last: (H, W, C) for (C, H, W).
    tokens: how many the sample had, where `row` is of one of them."""

    row: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    flops: float
    tokens: int | None = None

    @property
    def numbers(self) -> int:
        return torch.Size(self.row).numel() * (1 if self.tokens is None else self.tokens)


def outputs_of(backbone: Backbone, sample: Tensor | Tokens, low: torch.dtype | None) -> list[Output]:
    """Of 0, 1, ... all blocks, by trying. sample (1, ...): one input of the backbone, which is left in eval mode."""
    backbone.eval()
    found, flops = [_output(sample, 0.0, low)], 0.0
    for number in range(len(backbone.blocks)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            sample = backbone.steps(sample, number, number + 1)
        flops += counter.get_total_flops()
        found.append(_output(sample, flops, low))
    return found


def to_rows(x: Tensor | Tokens, output: Output) -> Tensor:
    """(B, ...) as it is kept: in the order in which it lies in memory; of texts one token after the other."""
    if isinstance(x, Tokens):
        return x.values[x.mask].reshape(-1)
    return x.permute(0, 2, 3, 1) if output.channels_last else x


def from_rows(rows: Tensor, output: Output) -> Tensor:
    return rows.permute(0, 3, 1, 2) if output.channels_last else rows


def _output(x: Tensor | Tokens, flops: float, low: torch.dtype | None) -> Output:
    if isinstance(x, Tokens):
        return Output(tuple(x.values.shape[2:]), low or x.values.dtype, False, flops, x.mask.shape[1])
    last = _channels_last(x)
    return Output(tuple((x.permute(0, 2, 3, 1) if last else x).shape[1:]), low or x.dtype, last, flops)


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
