"""Training loops of other tools, for full_step.py: each takes a network and batches, and returns seconds per step.

All share the network, batches of uint8 pictures in memory, normalised in the step, and AdamW at one rate.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW

from drawn import drawn, end_step, seconds_per_step
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.preprocess import evaluation_view
from machine import DEVICE, bf16

RATE, DECAY = 1e-3, 0.01
LOG_EVERY = 10  # steps, as in conf/trainer


class Batches:
    """Iterates over an epoch of shuffled batches: normalised float pictures (B, 3, S, S) and classes (B,). Also a data
    set that returns whole batches through `__getitems__`, for torch's loaders."""

    def __init__(self, number: int, side: int, size: int, spec: ImageSpec) -> None:
        self.pixels, self.targets = drawn(number, side)
        self.size = size
        self.spec = spec

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for places in torch.randperm(len(self.targets)).split(self.size):
            yield self._at(places)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, places: list[int]) -> tuple[Tensor, Tensor]:
        return self._at(torch.tensor(places))

    def _at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        return evaluation_view(self.pixels[places].to(DEVICE), self.spec), self.targets[places].to(DEVICE)


def steps_of(batches: Batches) -> int:
    """Steps per epoch."""
    return -(-len(batches) // batches.size)


Make = Callable[[], nn.Module]
Way = Callable[[], float]


def plain(make: Make, batches: Batches, warm: int) -> Way:
    """A typical first loop: float32, contiguous, torch's default AdamW."""
    model = make().to(DEVICE).train()
    return partial(
        _looped, model, AdamW(model.parameters(), lr=RATE), batches, warm, nullcontext, torch.contiguous_format
    )


def hand_tuned(make: Make, batches: Batches, warm: int) -> Way:
    """bfloat16, channels last, a fused AdamW without decay on norms and biases, no logging."""
    model = make().to(DEVICE).train().to(memory_format=torch.channels_last)
    decays = [p for p in model.parameters() if p.ndim >= 2]
    others: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = AdamW([{"params": decays}, *(group for group in others if group["params"])],
                      lr=RATE, weight_decay=DECAY, fused=True)  # fmt: skip
    return partial(_looped, model, optimizer, batches, warm, bf16, torch.channels_last)


def _looped(
    model: nn.Module, optimizer: AdamW, batches: Batches, warm: int,
    precision: Callable[[], AbstractContextManager[Any]], layout: torch.memory_format,
) -> float:  # fmt: skip
    ends: list[float] = []
    for inputs, targets in batches:
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = cross_entropy(model(inputs.contiguous(memory_format=layout)), targets)
        loss.backward()
        optimizer.step()
        end_step(ends, warm, steps_of(batches))
    return seconds_per_step(ends, warm)


def timm_style(make: Make, batches: Batches, warm: int) -> Way:
    """Follow the loop of timm's train.py with `--amp --amp-dtype bfloat16 --channels-last --opt adamw`: its optimizer
    factory, a rate update per step, its average meters, the loss read at each step. Raises ImportError."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import AverageMeter

    model = make().to(DEVICE).train().to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=RATE, weight_decay=DECAY)
    per_epoch = steps_of(batches)
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=100, updates_per_epoch=per_epoch, step_on_epochs=False)
    lossy = nn.CrossEntropyLoss()
    updates = 0

    def epoch() -> float:
        nonlocal updates
        losses, waits, whole = AverageMeter(), AverageMeter(), AverageMeter()
        ends: list[float] = []
        end = time.time()
        optimizer.zero_grad()
        for inputs, targets in batches:
            waits.update(time.time() - end)
            with bf16():
                loss = lossy(model(inputs.contiguous(memory_format=torch.channels_last)), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            updates += 1
            losses.update(loss.item(), len(inputs))
            whole.update(time.time() - end)
            scheduler.step_update(num_updates=updates, metric=losses.avg)
            end_step(ends, warm, per_epoch)
            end = time.time()
        return seconds_per_step(ends, warm)

    return epoch


class Graded(nn.Module):
    """A network that returns its loss, as Hugging Face's Trainer requires."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(pixel_values.contiguous(memory_format=torch.channels_last))
        return {"loss": cross_entropy(logits.float(), labels), "logits": logits}


def hugging_face(make: Make, batches: Batches, warm: int) -> Way:
    """transformers.Trainer with `bf16=True`, its default optimizer and channels last, without saving or reporting. Here
    it creates its loaders, optimizer and rate curve anew for each epoch. Raises ImportError."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Ends(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            end_step(ends, warm, steps_of(batches))

    ends: list[float] = []
    model = Graded(make().to(DEVICE).to(memory_format=torch.channels_last))
    folder = tempfile.mkdtemp(prefix="trainer-")
    settings = TrainingArguments(
        folder, bf16=True, use_cpu=DEVICE.type == "cpu", per_device_train_batch_size=batches.size, num_train_epochs=1,
        learning_rate=RATE, weight_decay=DECAY, logging_steps=LOG_EVERY, report_to=[], save_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False, remove_unused_columns=False, max_grad_norm=0.0,
    )  # fmt: skip

    def collated(batch: Any) -> dict[str, Tensor]:  # a whole batch of `Batches.__getitems__`, not a list of samples
        return {"pixel_values": batch[0], "labels": batch[1]}

    def epoch() -> float:
        ends.clear()
        Trainer(model, settings, data_collator=collated, train_dataset=batches, callbacks=[Ends()]).train()
        return seconds_per_step(ends, warm)

    return epoch


PEERS = {"timm's loop": timm_style, "Hugging Face Trainer": hugging_face}
