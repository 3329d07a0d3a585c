"""Set up a run's frozen blocks: their outputs and dtype, whether they are compiled, and which phases cache them."""

from collections.abc import Sequence
from typing import Literal

import lightning as L
import torch

from frostline.backbones.base import Backbone
from frostline.contracts.tree import shapes_of
from frostline.data.module import Data
from frostline.distributed.fsdp_strategy import Sharded
from frostline.distributed.sharding import require_apart
from frostline.frozen.blocks import Output, outputs_of
from frostline.frozen.policy import Choice, Line, Reuse, Samples, Shown, choices, views_of
from frostline.plan.phases import Plan
from frostline.training.trainer import Compiled, compiled

OUTPUTS: dict[str, list[Output]] = {}


def low_of(trainer: L.Trainer) -> torch.dtype | None:
    """The dtype in which frozen blocks compute; None for that of their inputs."""
    return torch.bfloat16 if trainer.precision == "bf16-mixed" else None


def tried_outputs(backbone: Backbone, data: Data, trainer: L.Trainer, low: torch.dtype | None) -> list[Output]:
    """`outputs_of`, once per process, so that runs of a sweep share them. The backbone is left in eval mode."""
    sample, shares = data.example(), data.shares()
    key = f"{backbone.structure} {shapes_of(sample)} {shares} {trainer.precision} {low}"
    if key not in OUTPUTS:
        with trainer.precision_plugin.forward_context():
            OUTPUTS[key] = outputs_of(backbone, sample, low, shares)
    backbone.eval()
    return OUTPUTS[key]


def compiled_work(
    wanted: bool | Literal["auto"], trainer: L.Trainer, data: Data, lines: list[int], outputs: list[Output]
) -> Compiled:
    """lines: frozen blocks in each epoch. For frozen blocks, count one pass over the data through all blocks, whatever
    the plan, so that other plans find what is cached."""
    whole, samples = outputs[-1].flops, len(data.train_split)
    training = sum(3 * samples * (whole - outputs[line].flops) for line in lines)
    frozen = whole * (samples + len(data.val_split))
    choice = compiled(wanted, trainer, training=training, frozen=frozen)
    # Chunks of texts have many shapes, for each of which frozen blocks would be compiled anew.
    return choice._replace(frozen=choice.frozen and not data.modality.spec.ragged)


def choices_of(
    reuse: Reuse,
    plan: Plan,
    backbone: Backbone,
    outputs: list[Output],
    data: Data,
    trainer: L.Trainer,
    views: Sequence[int | None] | None = None,
) -> list[Choice]:
    """views: of each phase of a resumed run, which keeps them. Raises ConfigError if the backbone is to be sharded but
    cannot be, or as `choices` does."""
    # Bytes of float32 whatever the precision, so that a machine with another one chooses the same.
    held = [[outputs[number].numbers for number in backbone.held_at(line)] for line in range(len(outputs))]
    lines = [Line(round(4 * sum(numbers)), output.flops) for numbers, output in zip(held, outputs, strict=True)]
    limits = (trainer.limit_train_batches, trainer.limit_val_batches)
    samples = Samples(
        len(data.train_split),
        len(data.val_split),
        augmented=data.views.could_augment,
        mixed=data.views.mixes,
        whole_epochs=all(limit == 1.0 and isinstance(limit, float) for limit in limits),
    )
    hindrance = ""
    if isinstance(trainer.strategy, Sharded):
        require_apart(backbone.blocks, backbone.name)
        hindrance = "frozen blocks are sharded over the devices"
    if trainer.precision == "16-mixed":
        hindrance = "float16 outputs are not cached (trainer.precision=16-mixed)"
    blocks = list(backbone.blocks)
    shown = views_of(plan, blocks, lines, samples)
    if views is not None and data.views.could_augment and len(views) == len(plan.phases):
        shown = [now if now.views == before else Shown(before) for now, before in zip(shown, views, strict=True)]
    return choices(reuse, plan, blocks, lines, samples, shown, hindrance)
