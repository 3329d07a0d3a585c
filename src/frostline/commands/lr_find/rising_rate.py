"""A rate per step, and the loss at it: what a learning-rate range test is made of."""

from collections.abc import Sequence
from typing import Any

import lightning as L

from frostline.commands.lr_find.range_test import diverges


class RisingRate(L.Callback):
    """Trains each step at its base rate, in place of the phase's curve; every group keeps its `lr_scale` of it. Ends
    the training after the last of `rates`, or once the loss diverges. memory, worst: see `diverges`.

    losses: of the steps so far, each the mean over the global batch.
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
            return  # its gradient is only added to the next batch's
        self.losses.append(sum(self._of_step) / len(self._of_step))
        self._of_step = []
        self.diverged = diverges(self.losses, self.memory, self.worst)
        trainer.should_stop = self.diverged or len(self.losses) == len(self.rates)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # A loss that is not finite would end the epoch with an error; here it is an answer.
        pl_module.trained = False  # type: ignore[assignment]
