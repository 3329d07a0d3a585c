"""Throughput, phase boundaries and frost line, for TensorBoard and run.json."""

import time
from typing import Any

import lightning as L

RATE = "throughput/samples_per_second"  # of an epoch


class Measure(L.Callback):
    """Count seconds and samples of training over all ranks, without validation, and log the rate per epoch."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0
        self._since = 0.0
        self._epoch_seconds = 0.0
        self._epoch_samples = 0

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds else 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds, self.samples = 0.0, 0
        self._since = time.perf_counter()  # an epoch resumed midway has no on_train_epoch_start

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_seconds, self._epoch_samples = 0.0, 0
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch_samples += batch.size * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_seconds += time.perf_counter() - self._since

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not pl_module.trained:
            return
        self._epoch_seconds += time.perf_counter() - self._since
        self.seconds += self._epoch_seconds
        self.samples += self._epoch_samples
        rate = self._epoch_samples / self._epoch_seconds
        number, phase, backbone = pl_module.phase_number, pl_module.phase, pl_module.backbone
        line = phase.frost_line(list(backbone.blocks))  # type: ignore[arg-type, operator, union-attr]
        scalars = {"phase": float(number), "frost_line": float(line)}  # type: ignore[arg-type]
        pl_module.log_dict({RATE: rate} | scalars)
