"""Write checkpoints whole or not at all, hold them until a write is worth it, and find them in a moved folder."""

import copy
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from frostline.errors import RunError, first_line
from frostline.paths import moved
from frostline.quoting import command_of

WORTH = 10  # a write is worth it once this many seconds of work are unsaved for each second that it takes
SHARE = 0.25  # of free memory; larger checkpoints are not held


class WholeFiles(TorchCheckpointIO):
    """Write a draft beside the final path, then rename it. Lightning writes its drafts to the folder for temporary
    files, from which a move may be a copy: a kill during it leaves half a checkpoint under the final name.

    Tensors are saved on the CPU, so that torch.load reads them on any machine.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.draft")  # one name, so that leftovers of a kill are overwritten
        try:
            draft.unlink(missing_ok=True)
            with draft.open("xb") as file:  # never follows a link of that name
                torch.save(_on_cpu(checkpoint), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(place)
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError, also on a full disk
            draft.unlink(missing_ok=True)
            raise RunError(
                f"cannot write a checkpoint: {first_line(error)}",
                where=place,
                next_step=f"{command_of('train', resume=place.parent.parent)}"
                "  # once there is room on that disk (df, ulimit -f)",
            ) from error


class Waits(NamedTuple):
    """How a checkpoint is held. resting: names of parameters that cannot change before the phase ends. first: it is
    written before other held ones, because they refer to it."""

    resting: set[str]
    first: bool


class LateFiles(WholeFiles):
    """Hold checkpoints that may wait as copies in memory, until the seconds of work since that file was last written
    are WORTH times those of a write. A later checkpoint of the same name replaces the held one.

    The end of a phase or run calls `write_held`, which writes everything that is held, so that only a process killed
    outright resumes from an older file. Rank 0 alone holds and decides; the others take part in gathering each
    checkpoint, written or not, so that there is nothing to agree on.
    """

    took: ClassVar[float | None] = None  # seconds of this process's last write; the next run of a sweep uses it

    def __init__(self) -> None:
        super().__init__()
        self._waits: Waits | None = None
        self._held: dict[Path, dict[str, Any]] = {}
        self._rested: dict[tuple[str, int, int], Tensor] = {}  # copies by name, data pointer and version
        self._writing = 0.0  # seconds spent on writing, which are not work
        self._begun = self._worked()
        self._written: dict[Path, float] = {}  # in seconds of work

    def begin(self) -> None:
        """Start to count unsaved work."""
        self._begun = self._worked()
        self._written = {}

    def unsaved_seconds(self, path: Path) -> float:
        """Seconds of work since that file was written, or since `begin`."""
        return self._worked() - self._written.get(path, self._begun)

    @contextmanager
    def may_wait(self, waits: Waits) -> Iterator[None]:
        """Allow checkpoints that are saved in this context to be held."""
        self._waits = waits
        try:
            yield
        finally:
            self._waits = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        place = Path(path)
        self._held.pop(place, None)
        waits = self._waits
        if waits is not None and not self._is_worth(place) and _num_bytes(checkpoint) < SHARE * _free_memory():
            held = {place: self._copy(checkpoint, waits.resting)}
            self._held = held | self._held if waits.first else self._held | held
            return
        if waits is None or not waits.first:
            self.write_held()
        self._write(checkpoint, place)

    def write_held(self) -> None:
        """Write all held checkpoints. If one fails, raises RunError and drops the rest, which may refer to it."""
        held, self._held, self._rested = self._held, {}, {}
        for place, checkpoint in held.items():
            self._write(checkpoint, place)

    def _is_worth(self, place: Path) -> bool:
        return LateFiles.took is None or self.unsaved_seconds(place) >= WORTH * LateFiles.took

    def _write(self, checkpoint: dict[str, Any], place: Path) -> None:
        begun = time.monotonic()
        super().save_checkpoint(checkpoint, place)
        LateFiles.took = time.monotonic() - begun
        self._writing += LateFiles.took
        self._written[place] = self._worked()

    def _worked(self) -> float:
        return time.monotonic() - self._writing

    def _copy(self, checkpoint: dict[str, Any], resting: set[str]) -> dict[str, Any]:
        """Copy a checkpoint to the CPU. Resting parameters are copied once only: when the head learns alone, they are
        nearly everything."""
        names = {id(value): name for name, value in checkpoint["state_dict"].items() if name in resting}
        copies: dict[int, Any] = {}
        rested = {}
        for tensor in _tensors(checkpoint):
            own = (names[id(tensor)], tensor.data_ptr(), tensor._version) if id(tensor) in names else None
            found = self._rested.get(own) if own is not None else None
            copies[id(tensor)] = found if found is not None else tensor.detach().to("cpu", copy=True)
            if own is not None:
                rested[own] = copies[id(tensor)]
        self._rested = rested
        return copy.deepcopy(checkpoint, copies)  # tensors in the memo are not copied again


def files_of(trainer: L.Trainer) -> LateFiles:
    files = trainer.strategy.checkpoint_io
    assert isinstance(files, LateFiles)  # set in trainer.py
    return files


def _tensors(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict | list | tuple):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _tensors(value)


def _on_cpu(checkpoint: dict[str, Any]) -> dict[str, Any]:
    elsewhere = {id(tensor): tensor.detach().cpu() for tensor in _tensors(checkpoint) if not tensor.is_cpu}
    memo: dict[int, Any] = {id(tensor): tensor for tensor in _tensors(checkpoint)} | elsewhere
    return copy.deepcopy(checkpoint, memo) if elsewhere else checkpoint  # tensors in the memo are not copied again


def _num_bytes(checkpoint: dict[str, Any]) -> int:
    return sum(tensor.nbytes for tensor in _tensors(checkpoint))


def _free_memory() -> int:
    """Bytes available without swapping, as Linux estimates."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = [line for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(available.split()[1])


class PlacedCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that survives a move of its folder. Lightning's forgets its best score then, and takes the
    next, worse one for the best.

    The best epoch is the latest within one standard error of the highest score, if the score is a proportion of the
    samples (a rule of Breiman et al. 1984, section 3.4.3, for trees), else the latest with the best score: small
    validation splits often tie while training still helps.

    A single file under a fixed name is held until a write is worth it, at most to the end of the phase.
    """

    @cached_property
    def state_key(self) -> str:
        """Cached, as the settings do not change and Lightning reads the key in each hook of each step."""
        return super().state_key

    top_score: float | None = None  # the best of all epochs; the chosen epoch may be a standard error below

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        if current is None or self.save_top_k != 1 or not current.isfinite():
            return super().check_monitor_top_k(trainer, current)
        score, top = float(current), self.top_score
        better = top is None or (score > top if self.mode == "max" else score < top)
        if top is None or better:
            self.top_score = score
        tie = top is not None and self.mode == "max" and score >= top - self._standard_error(trainer, top)
        return bool(trainer.strategy.reduce_boolean_decision(better or tie or score == top))

    def _standard_error(self, trainer: L.Trainer, share: float) -> float:
        """Standard error of a proportion of the validation samples; 0 for other scores."""
        task, number = getattr(trainer.lightning_module, "task", None), trainer.callback_metrics.get("val/n")
        if task is None or number is None or self.monitor not in task.shares:
            return 0.0
        return math.sqrt(share * (1 - share) / float(number))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        files_of(trainer).begin()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        files_of(trainer).write_held()
        trainer.strategy.barrier()  # other ranks read what was written

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        with suppress(RunError):  # the original exception says more
            files_of(trainer).write_held()

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        if self.save_top_k != 1 or self.save_last or self.filename is None or "{" in self.filename:
            super()._save_checkpoint(trainer, filepath)
            return
        resting = {name for name, p in trainer.lightning_module.named_parameters() if not p.requires_grad}
        with files_of(trainer).may_wait(Waits(resting, first=self.monitor is not None)):
            super()._save_checkpoint(trainer, filepath)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "top_score": self.top_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        super().load_state_dict(moved(state_dict, before, now))
        best = state_dict["best_model_score"]
        self.top_score = state_dict.get("top_score", None if best is None else float(best))
