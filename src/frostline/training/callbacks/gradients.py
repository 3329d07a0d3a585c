"""Norms of gradients, for TensorBoard."""

from collections import defaultdict
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor
from torch.optim import Optimizer

from frostline.distributed.sharding import total
from frostline.plan.freezing import NO_DECAY


class GradientNorms(L.Callback):
    """Log `gradient/<group>` every `log_every_n_steps` steps: the norm of the gradient, before clipping, of the head
    and of each block that learns."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.global_step % every or all(isinstance(it, DummyLogger) for it in trainer.loggers):
            return
        gradients: dict[str, list[Tensor]] = defaultdict(list)
        for group in optimizer.param_groups:
            own = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            gradients[group["name"].removesuffix(NO_DECAY)] += own
        squares = {name: total(it.square().sum() for it in own) for name, own in gradients.items() if own}
        if not squares:
            return
        found = torch.stack([torch.as_tensor(it) for it in squares.values()]).sqrt().tolist()  # one wait for the device
        norms: dict[str, Any] = {f"gradient/{name}": norm for name, norm in zip(squares, found, strict=True)}
        for logger in trainer.loggers:
            logger.log_metrics(norms, step=trainer.global_step)
