"""The callback of the learning-rate range test: set a rate per step, record the loss at it."""

from collections.abc import Sequence
from typing import Any

import lightning as L

from frostline.commands.lr_find.range_test import diverges


class RisingRate(L.Callback):
    """Sets the base rate of each step, in place of the phase's rate curve; every parameter group applies its
    `lr_scale`. Stops the training after the last of `rates`, or once the loss diverges. memory, worst: see `diverges`.

    losses: one per step so far, the mean over the global batch.
    """

    def __init__(self, rates: Sequence[float], *, memory: float, worst: float) -> None:
        self.rates = rates
        self.memory = memory
        self.worst = worst
        self.losses: list[float] = []
        self.diverged = False
        self._of_step: list[float] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[len(self.losses)] * group["lr_scale"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] * trainer.accumulate_grad_batches  # Lightning has divided by it
        self._of_step.append(float(trainer.strategy.reduce(loss, reduce_op="mean")))
        if trainer.global_step == len(self.losses):
            return  # gradients accumulate; the optimizer has not stepped yet
        self.losses.append(sum(self._of_step) / len(self._of_step))
        self._of_step = []
        self.diverged = diverges(self.losses, self.memory, self.worst)
        trainer.should_stop = self.diverged or len(self.losses) == len(self.rates)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Keep FineTuner from raising an error for a loss that is not finite: here it is a result.
        pl_module.trained = False  # type: ignore[assignment]
