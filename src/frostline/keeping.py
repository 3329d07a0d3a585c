"""A run's frozen blocks: what they give, in which type, whether compiled, and in which phases it is kept."""

from typing import Literal

import lightning as L
import torch

from frostline.backbones.base import Backbone
from frostline.data.module import PictureData
from frostline.frozen_pass import Output, outputs_of
from frostline.phases import Plan
from frostline.reuse import Choice, Line, Reuse, Samples, choices
from frostline.strategies import Sharded
from frostline.trainers import Compiled, compiled

OUTPUTS: dict[str, list[Output]] = {}


def low_of(trainer: L.Trainer) -> torch.dtype | None:
    """The type in which frozen blocks compute, if another one."""
    return torch.bfloat16 if trainer.precision == "bf16-mixed" else None


def tried_outputs(backbone: Backbone, data: PictureData, trainer: L.Trainer, low: torch.dtype | None) -> list[Output]:
    """Tried once by a process: those of a sweep's runs are alike. The backbone is left in eval mode."""
    side = data.spec.size
    key = f"{backbone.structure} {side} {trainer.precision} {low}"
    if key not in OUTPUTS:
        sample = torch.zeros(1, 3, side, side).contiguous(memory_format=torch.channels_last)
        with trainer.precision_plugin.forward_context():
            OUTPUTS[key] = outputs_of(backbone, sample, low)
    backbone.eval()
    return OUTPUTS[key]


def compiled_work(
    wanted: bool | Literal["auto"], trainer: L.Trainer, data: PictureData, lines: list[int], outputs: list[Output]
) -> Compiled:
    """lines: frozen blocks in each epoch. For frozen blocks one pass over the data through all of them is counted,
    whatever the plan, so that other plans find what is kept."""
    whole, samples = outputs[-1].flops, len(data.train_part)
    training = sum(3 * samples * (whole - outputs[line].flops) for line in lines)
    return compiled(wanted, trainer, training=training, frozen=whole * (samples + len(data.val_part)))


def choices_of(
    reuse: Reuse, plan: Plan, backbone: Backbone, outputs: list[Output], data: PictureData, trainer: L.Trainer
) -> list[Choice]:
    # As float32 has it whatever the precision: the same choice on a machine that chooses another one.
    lines = [Line(4 * torch.Size(output.row).numel(), output.flops) for output in outputs]
    limits = (trainer.limit_train_batches, trainer.limit_val_batches)
    augment = data.augment
    samples = Samples(
        len(data.train_part),
        len(data.val_part),
        augmented=augment.strength is not None,
        mixed=augment.mixes,
        whole_epochs=all(limit == 1.0 and isinstance(limit, float) for limit in limits),
    )
    hindrance = "frozen blocks are sharded over the devices" if isinstance(trainer.strategy, Sharded) else ""
    if trainer.precision == "16-mixed":
        hindrance = "of float16 nothing is kept (trainer.precision=16-mixed)"
    return choices(reuse, plan, list(backbone.blocks), lines, samples, hindrance)
