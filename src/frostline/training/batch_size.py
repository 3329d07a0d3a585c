"""Measure what a run costs on this machine, and choose the batch size that fits into its memory."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.contracts.tokens import values_of
from frostline.contracts.tree import Value, shapes_of
from frostline.errors import RunError, memory_is_short
from frostline.memory import memory_limits
from frostline.plan.freezing import parameter_groups
from frostline.plan.phase import Phase
from frostline.training.costs import Blocks, Costs, measured_blocks, optimizer_states, phase_bytes, with_head
from frostline.training.finetuner import OptimizerFactory

MEASURED: dict[str, Costs | None] = {}  # by network, sample, device and precision
BLOCKS: dict[str, Blocks] = {}  # of the last backbone: the heads of a sweep share it
MOST_SAMPLES = 1024  # largest batch chosen: larger ones save no time per sample, and leave fewer steps
FEWEST_STEPS = 8  # optimizer steps per epoch
SHARE = 0.6  # of the memory; the rest is for kernel workspaces, the data and the system


class ChosenBatch(NamedTuple):
    """size: of a batch over all devices. why: what limited it, as part of a sentence."""

    size: int
    why: str


def costs_of(backbone: Backbone, head: nn.Module, sample: Value, trainer: L.Trainer) -> Costs | None:
    """Measure costs once per process and model, and the blocks once for heads in turn, so that the runs of a sweep
    share them. sample: (1, ...), one input. Return None if memory runs out: measuring needs all gradients, and the plan
    may not."""
    device, context = trainer.strategy.root_device, trainer.precision_plugin.forward_context
    blocks = f"{backbone.structure} {shapes_of(sample)} {device} {trainer.precision}"
    key = f"{blocks} {head}"
    if key not in MEASURED:
        try:
            if blocks not in BLOCKS:
                BLOCKS.clear()
                BLOCKS[blocks] = measured_blocks(backbone, sample, device, context)
            MEASURED[key] = with_head(BLOCKS[blocks], head, device, context)
        except RuntimeError as error:
            if not memory_is_short(error):
                raise
            MEASURED[key] = None
    return MEASURED[key]


def weights_bytes(backbone: Backbone, head: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in nn.ModuleList([backbone, head]).parameters())


def largest_batch(
    backbone: Backbone,
    head: nn.Module,
    phases: Sequence[Phase],
    optimizers: dict[str, OptimizerFactory],
    *,
    sample: Value,
    samples: int,
    trainer: L.Trainer,
    memory: int | None = None,
) -> ChosenBatch:
    """The largest power of two, over all devices, with which every phase fits. sample: (1, ...), the largest input.
    samples: per epoch.
    memory: of a device, in bytes; None for all it has, used or free, so that all ranks and a resume choose the same.

    Raises RunError if one sample per rank does not fit.
    """
    device, ranks = trainer.strategy.root_device, trainer.world_size
    room = SHARE * (_memory_of(device) if memory is None else memory)
    if device.type == "cpu":
        room /= ranks  # ranks share the memory
    costs = costs_of(backbone, head, sample, trainer)
    if costs is None:
        raise _too_large("memory ran out while a step of a few samples was measured", device)
    blocks, weights = list(backbone.blocks), weights_bytes(backbone, head)

    def needs(phase: Phase, batch: int) -> float:
        groups, states = parameter_groups(backbone, head, phase), optimizer_states(optimizers[phase.name], device)
        return phase_bytes(costs, phase, blocks, -(-batch // ranks), groups, states, weights)

    smallest = 1 << (ranks - 1).bit_length()  # every rank needs a sample of each batch
    in_steps = samples // (FEWEST_STEPS * trainer.accumulate_grad_batches)
    batch = max(1 << max(min(MOST_SAMPLES, in_steps), 1).bit_length() - 1, smallest)
    why = f"that leaves {FEWEST_STEPS} optimizer steps per epoch" if in_steps < MOST_SAMPLES else "that Frostline tries"
    if batch == smallest and in_steps < smallest:
        why = "that is possible, with one sample for each process"
    while max((needs(phase, batch) for phase in phases), default=0) > room:
        if batch == smallest:
            raise _too_large(f"a batch of {batch} with {_size_of(sample)} needs more than {room / 1e9:,.1f} GB", device)
        batch, why = batch // 2, "that fits into memory"
    return ChosenBatch(batch, f"is the largest power of two {why}")


def _size_of(sample: Value) -> str:
    if isinstance(sample, Mapping):
        return f"{len(sample)} inputs each"
    length = values_of(sample).shape[-1 if isinstance(sample, Tensor) else 1]
    return f"{length} {'pixels a side' if isinstance(sample, Tensor) else 'tokens each'}"


def _too_large(what: str, device: torch.device) -> RunError:
    return RunError(
        what,
        where=f"data.batch_size=auto, {device}",
        next_step="data.batch_size=<number>, smaller pictures, shorter texts, a smaller model, or schedule=head_only",
    )


def _memory_of(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *memory_limits()])
