"""Run frozen blocks so that the output for a sample depends on that sample alone.

Kernels are chosen by batch size, and the choice changes the last bits of a sum: in float32 on CPUs the features of a
picture differ between batches of 16 and of 17 (resnet50, vgg16, densenet121), but not between batches of one size,
whatever else is in them. So frozen blocks run on chunks of one size, the last one padded: cached outputs then equal
recomputed ones bit for bit.
"""

import copy
from collections.abc import Callable, Mapping
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
from frostline.backbones.towers import Towers
from frostline.contracts.tokens import Tokens, mask_of, values_of
from frostline.contracts.tree import part_of
from frostline.frozen.chunks import STEM, TOKENS, WIDTHS, chunk_of, texts_of
from frostline.frozen.compile import compiled_for_inference


class FrozenPass:
    """Run frozen blocks in inference mode. low: the dtype in which they compute; None for that of the inputs and of the
    surrounding autocast. compiles: ignored without `low`, as compiled blocks would give different bits in float32.

    With `low`, copies of the blocks run, converted to that dtype, with adapters and BatchNorm folded into the weights.
    They are made when first needed; call `forget` when weights may have changed.

    fills: fill up each chunk, so that the last bits of a sample do not depend on those beside it. One sample alone then
    takes as long as a whole chunk.
    """

    def __init__(
        self, backbone: Backbone, low: torch.dtype | None = None, *, compiles: bool = False, fills: bool = True
    ) -> None:
        self.backbone = backbone
        self.low = low
        self.fills = fills
        self.compiles = compiles and low is not None
        self._copies: dict[int, Callable[[Any], Any]] = {}
        towers = backbone.towers if isinstance(backbone, Towers) else {}
        # Chunks of texts have many shapes, for each of which blocks would be compiled anew.
        self.parts = {
            part: FrozenPass(it, low, compiles=compiles and not it.spec.ragged, fills=fills)
            for part, it in towers.items()
        }

    def forget(self) -> None:
        self._copies = {}
        for part in self.parts.values():
            part.forget()

    def through(self, x: Any, start: int, stop: int) -> Any:
        """`Backbone.through` with the steps of this class."""
        if isinstance(self.backbone, Towers):
            return self.backbone.by_tower(x, start, stop, self.parts)
        return self.backbone.through(x, start, stop, steps=self)

    def __call__(self, inputs: Tensor | Tokens, start: int, stop: int) -> Tensor | Tokens:
        """(B, ...) output of `start` blocks → output of `stop` blocks, without a graph. The blocks are in eval mode."""
        if any(isinstance(block, FSDPModule) for block in self.backbone.blocks.values()):
            with torch.no_grad():  # not in chunks: gathering shards needs the same number of calls on every rank
                return self.backbone.steps(inputs, start, stop)
        if isinstance(inputs, Tokens):
            return self._of_tokens(inputs, start, stop)
        with torch.inference_mode(), self._precision(inputs.device):
            inputs = inputs if self.low is None else inputs.to(self.low)
            chunks = [self._chunk(chunk, start, stop) for chunk in inputs.split(self.chunk(inputs.device))]
        return torch.cat(chunks)  # outside inference mode, whose tensors autograd cannot save for backward

    def _of_tokens(self, x: Tokens, start: int, stop: int) -> Tensor | Tokens:
        """Run samples of similar length together, in chunks whose shape depends on a sample's own length alone."""
        shortens = start == 0 and self.backbone.spec.values_per_token > 1
        if shortens and stop > 1:  # regrouped by tokens, as if the output of the first block had been cached
            x, start, shortens = self._of_tokens(x, 0, 1), 1, False  # type: ignore[assignment]
        widths = self._widths(x.mask.sum(1), start)
        found: list[tuple[Tensor, Tensor | Tokens]] = []
        with torch.inference_mode(), self._precision(x.mask.device):
            for width in widths.unique().tolist():
                places = (widths == width).nonzero().flatten()
                for rows in places.split(self._rows(width, start, x.mask.device)):
                    found.append((rows, self._token_chunk(x, rows, width, start, stop)))
        first = values_of(found[0][1])
        mask = self._shortened(x.mask) if shortens else x.mask
        length = mask.shape[1]
        shape = first.shape[1:] if isinstance(found[0][1], Tensor) else (length, *first.shape[2:])
        out = first.new_zeros(len(mask), *shape)  # outside inference mode: see above
        for rows, part in found:
            if isinstance(part, Tensor):
                out[rows] = part[: len(rows)]
            else:  # zeros at padding, so that a batch does not depend on the chunks of its samples
                width = min(length, part.mask.shape[1])
                kept = part.values[: len(rows), :width].masked_fill(~mask[rows, :width, None], 0)
                out[rows, :width] = kept
        return out if isinstance(found[0][1], Tensor) else Tokens(out, mask)

    def _shortened(self, mask: Tensor) -> Tensor:
        """(B, T) of inputs → (B, L) of what the first block returns."""
        tokens = self.backbone.spec.tokens_of(mask.sum(1))
        return torch.arange(int(tokens.max()), device=mask.device) < tokens[:, None]

    def _widths(self, lengths: Tensor, start: int) -> Tensor:
        """(B,) values or tokens to which each sample is padded."""
        spec = self.backbone.spec
        values = 1 if start else spec.values_per_token
        lengths = -(-lengths // values)
        widths = torch.zeros_like(lengths)
        for most, step in WIDTHS:
            widths = torch.where((widths == 0) & (lengths <= most), -(-lengths // step) * step, widths)
        return widths.clamp(max=spec.most_tokens) * values if spec.most_tokens is not None else widths * values

    def _rows(self, width: int, start: int, device: torch.device) -> int:
        """Samples of `width` per chunk."""
        values = self.backbone.spec.values_per_token
        return texts_of(width, device) if start or values == 1 else max(texts_of(width // values, device) // STEM, 1)

    def _token_chunk(self, x: Tokens, rows: Tensor, width: int, start: int, stop: int) -> Tensor | Tokens:
        size = self._rows(width, start, x.mask.device) if self.fills else len(rows)
        length = min(width, x.mask.shape[1])
        low = self.low if start and x.values.is_floating_point() else None  # blocks convert inputs themselves
        values = x.values.new_zeros(size, width, *x.values.shape[2:], dtype=low)
        mask = x.mask.new_zeros(size, width)
        mask[:, 0] = True  # attention needs one token in the empty rows, too
        values[: len(rows), :length] = x.values[rows, :length]
        mask[: len(rows), :length] = x.mask[rows, :length]
        return self._through(Tokens(values, mask), start, stop)

    def chunk(self, device: torch.device) -> int:
        return chunk_of(self.backbone.spec, device)

    def filling(self, device: torch.device) -> list[Any]:
        """What determines the shapes of chunks, on which the last bits may depend."""
        if not self.backbone.spec.ragged:
            return [self.chunk(device)]
        stem = [STEM] if self.backbone.spec.values_per_token > 1 else []
        return [WIDTHS, *(texts_of(width, device) for _, width in WIDTHS), texts_of(TOKENS, device), *stem]

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return nullcontext() if self.low is None else torch.autocast(device.type, enabled=False)

    def _chunk(self, x: Tensor, start: int, stop: int) -> Tensor:
        size, whole, last = len(x), self.chunk(x.device), x.ndim == 4 and not x.is_contiguous()
        if size < whole and self.fills:
            x = torch.cat([x, x.new_zeros(whole - size, *x.shape[1:])])
        if last:  # even without padding: layers that are not channels_last choose kernels by it (LoRA's, on GPUs)
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
    """Copy a block for inference in `low`. Adapters are merged into the weights before rounding. BatchNorm layers that
    cannot be folded into a convolution stay in float32: variances need its range."""
    block = copy.deepcopy(block).eval().requires_grad_(False)
    block.__dict__.pop("forward", None)  # compiled in place, and still bound to the original
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
    """Keep BatchNorm layers as leaf modules: `fuse` checks types, and leaves out timm's, which hold an activation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _BatchNorm) or super().is_leaf_module(m, module_qualified_name)


def _folded(block: nn.Module) -> nn.Module:
    try:
        tracer = _NormsWhole()
        folded: nn.Module = fuse(GraphModule(block, tracer.trace(block)), no_trace=True)
    except (TraceError, TypeError):  # its control flow depends on the input
        return block
    return folded


class Output(NamedTuple):
    """Output of some blocks for one sample. row: its shape as stored; channels_last: (H, W, C) instead of (C, H, W).
    tokens: how many the sample had; `row` is the shape of one of them then. share: how many of these outputs a sample
    of the data needs in the mean: less than one if samples share inputs."""

    row: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool
    flops: float
    tokens: int | None = None
    share: float = 1.0

    @property
    def numbers(self) -> float:
        return torch.Size(self.row).numel() * (1 if self.tokens is None else self.tokens) * self.share


def outputs_of(
    backbone: Backbone, sample: Any, low: torch.dtype | None, shares: Mapping[str, float] | None = None
) -> list[Output]:
    """Measure the outputs of 0, 1, ... all blocks on one sample (1, ...). The backbone is left in eval mode. shares:
    see `Output`, by part of a sample."""
    backbone.eval()
    if isinstance(backbone, Towers):
        return _of_towers(backbone, sample, low, shares or {})
    found, flops = [_output(sample, 0.0, low)], 0.0
    for number in range(len(backbone.blocks)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            sample = backbone.steps(sample, number, number + 1)
        flops += counter.get_total_flops()
        found.append(_output(sample, flops, low))
    return found


def _of_towers(
    backbone: Towers, sample: Mapping[str, Any], low: torch.dtype | None, shares: Mapping[str, float]
) -> list[Output]:
    """Each output is that of one block for one input of its tower, and counts the operations of all blocks so far."""
    inputs = {part_of(name): value for name, value in sample.items()}
    own = {part: outputs_of(tower, inputs[part], low) for part, tower in backbone.towers.items()}
    found, flops = [Output((0,), torch.float32, False, 0.0)], 0.0
    for part, place in backbone.order:
        share = shares.get(part, 1.0)
        flops += share * (own[part][place + 1].flops - own[part][place].flops)
        found.append(own[part][place + 1]._replace(flops=flops, share=share))
    return found


def to_rows(x: Tensor | Tokens, output: Output) -> Tensor:
    """(B, ...) as stored: in memory order; texts as the values of all tokens, flattened."""
    values, mask = values_of(x), mask_of(x)
    if mask is not None:
        return values[mask].reshape(-1)
    return values.permute(0, 2, 3, 1) if output.channels_last else values


def from_rows(rows: Tensor, output: Output) -> Tensor:
    return rows.permute(0, 3, 1, 2) if output.channels_last else rows


def _output(x: Tensor | Tokens, flops: float, low: torch.dtype | None) -> Output:
    values, mask = values_of(x), mask_of(x)
    if mask is not None:
        return Output(tuple(values.shape[2:]), low or values.dtype, False, flops, mask.shape[1])
    last = _channels_last(values)
    return Output(tuple((values.permute(0, 2, 3, 1) if last else values).shape[1:]), low or values.dtype, last, flops)


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
