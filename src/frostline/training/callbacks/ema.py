"""An exponential moving average of the learning weights over the last phase."""

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from frostline.distributed.sharding import local, sharded_like, whole


class MovingAverage(L.Callback):
    """Starts from the weights with which `phase` begins; training itself does not use the average.

    The decay rises to its value as (1 + n) / (10 + n) after n steps, so that the first weights do not count for ever
    (TensorFlow, `tf.train.ExponentialMovingAverage`, `num_updates`). Equal numbers stay equal to the bit; Lightning's
    EMAWeightAveraging (2.6.6), a sum of two products, does not guarantee that.
    """

    def __init__(self, *, decay: float, phase: str) -> None:
        self.decay = decay
        self.phase = phase
        self.values: dict[str, Tensor] = {}
        self._steps = 0
        self._global_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._averages(pl_module):
            now = _learning(pl_module)
            self._global_step = trainer.global_step
            self.values = {name: sharded_like(self.values.get(name, v), v).clone() for name, v in now.items()}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self._averages(pl_module) or trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        self._steps += 1
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        now = _learning(pl_module)
        average = get_ema_multi_avg_fn(decay)
        pairs = [(local(value), local(now[name])) for name, value in self.values.items()]
        average(*(list(side) for side in zip(*pairs, strict=True)), torch.tensor(self._steps))

    def _averages(self, pl_module: L.LightningModule) -> bool:
        return bool(pl_module.phase.name == self.phase)  # type: ignore[union-attr]

    def state_dict(self) -> dict[str, Any]:
        values = {name: whole(value) for name, value in self.values.items()}
        return {"values": values, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.values, self._steps = state_dict["values"], state_dict["steps"]


def _learning(module: L.LightningModule) -> dict[str, Tensor]:
    """What the phase may change: learning parameters, and the statistics of norm layers."""
    found = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    return found | {name: buffer for name, buffer in module.named_buffers() if _is_statistic(name, buffer)}


def _is_statistic(name: str, buffer: Tensor) -> bool:
    return name.startswith(("backbone.", "head.")) and buffer.is_floating_point()
