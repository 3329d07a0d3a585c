"""End a run within a batch of a signal, and save long epochs midway."""

import signal
import threading
from pathlib import Path
from typing import Any

import lightning as L
import torch

from frostline.config.ranges import Positive
from frostline.distributed.signals import HEARD, Stopped
from frostline.training.callbacks.checkpoint_files import files_of

CALM, SAVE = 0, 1  # larger: the number of the signal that ends the run
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
EVERY_ON_DEVICE = 20  # steps between checks for signals to other ranks: each check waits for the device


class Safety(L.Callback):
    """SIGINT, SIGTERM, SIGHUP and SIGUSR1 end the run after the current batch, with a checkpoint to resume from; a
    second SIGINT ends it at once. A checkpoint is also saved within an epoch when `every_minutes` of work are unsaved.

    No checkpoint is saved between the last batch of an epoch and the end of its validation: a run that is stopped there
    resumes from the one before.
    """

    def __init__(self, *, dirpath: str, every_minutes: Positive[float]) -> None:
        self.path = Path(dirpath).resolve() / "last.ckpt"  # as ModelCheckpoint names it
        self.every_seconds = 60 * every_minutes
        self._told: int | None = None
        self._before: dict[int, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remember the signal handlers before Lightning adds its own, which would hold the trainer after the run."""
        if stage == "fit" and threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in ENDING}
            self._before = {number: it for number, it in found.items() if it is not signal.SIG_IGN}  # as by nohup

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace Lightning's signal handlers, in place by now: they would contact other ranks at any moment."""
        files_of(trainer).begin()
        self._trainer = trainer
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, signum: int, frame: Any) -> None:
        HEARD.set()  # or `last_resort`, which may look once the run has put `stop` back, would wait for it
        if signum == signal.SIGINT and self._told is not None:
            raise KeyboardInterrupt
        launcher = self._trainer.strategy.launcher
        if signum != signal.SIGINT and self._told is None and launcher is not None:
            launcher.kill(signum)  # the ranks that this process started; Ctrl-C in a terminal reaches them anyway
        self._told = signum

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        gradients_wait = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if gradients_wait or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        # Rank 0 alone writes files.
        long_ago = trainer.is_global_zero and files_of(trainer).unsaved_seconds(self.path) > self.every_seconds
        agreed = self._agreed(trainer, self._told or (SAVE if long_ago else CALM))
        if agreed != CALM:
            trainer.save_checkpoint(self.path)
        if agreed > SAVE:
            raise Stopped(agreed)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        # Ranks may have different numbers of validation batches, so they agree after validation, not here.
        if self._told and trainer.world_size == 1 and trainer.state.fn == "fit":
            self._end(trainer, self._told)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        agreed = self._agreed(trainer, self._told or CALM, always=True)
        if agreed != CALM:
            self._end(trainer, agreed)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        agreed = self._agreed(trainer, self._told or CALM, always=True)
        if agreed != CALM:
            self._end(trainer, agreed)  # signalled in the last epoch

    def _end(self, trainer: L.Trainer, signum: int) -> None:
        """Stop after a saved epoch. Held checkpoints are written while signals are only noted and all ranks are alive:
        the launcher may kill the others once one has exited."""
        files_of(trainer).write_held()
        trainer.strategy.barrier()
        raise Stopped(signum)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._let_go()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._let_go()  # teardown is not called then, and the next run of a sweep would miss a Ctrl-C

    def _let_go(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _agreed(self, trainer: L.Trainer, wish: int, *, always: bool = False) -> int:
        """The largest wish of any rank; on accelerators CALM in most steps, unless `always`."""
        if trainer.world_size == 1:
            return wish
        device = trainer.strategy.root_device
        if device.type != "cpu" and not always and trainer.global_step % EVERY_ON_DEVICE:
            return CALM
        wishes = torch.tensor(wish, device=device)
        torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX)
        return int(wishes.item())
