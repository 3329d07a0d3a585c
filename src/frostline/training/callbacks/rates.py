"""Learning rates, for TensorBoard."""

from typing import Any

import lightning as L

from frostline.plan.freezing import NO_DECAY


class LearningRates(L.Callback):
    """Log `lr/<group>` every `log_every_n_steps` steps: a curve for the head and each block that learns, through all
    phases. The parts of a group with and without weight decay have one rate."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not trainer.loggers or trainer.global_step % every:
            return
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        rates = {f"lr/{group['name'].removesuffix(NO_DECAY)}": float(group["lr"]) for group in groups}
        for logger in trainer.loggers:
            logger.log_metrics(rates, step=trainer.global_step)
