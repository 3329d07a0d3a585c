"""Write checkpoints whole or not at all, and hold them until a write is worth it."""

import copy
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from frostline.contracts.tree import same_bits
from frostline.errors import RunError, first_line
from frostline.memory import SHARE, Stamp, free_memory, stamp_of
from frostline.quoting import command_of

WORTH = 10  # a write is worth it once this many seconds of work are unsaved for each second that it takes
PATIENT, SHORT = 30, 60.0  # but PATIENT times the write as long as that is less than SHORT seconds
LEAST = 5.0  # seconds of work, half of what a start of the program takes
CHUNK = 2**20  # bytes that are copied at once
OF_TRAINING = ("optimizer_states", "lr_schedulers", "loops", "callbacks")  # keys that no evaluation needs


def worth_of(took: float) -> float:
    """Seconds of unsaved work that a write of `took` seconds is worth."""
    return max(WORTH * took, min(PATIENT * took, SHORT), LEAST)


class WholeFiles(TorchCheckpointIO):
    """Write a draft beside the final path, then rename it. Lightning writes its drafts to the folder for temporary
    files, from which a move may be a copy: a kill during it leaves half a checkpoint under the final name.

    Tensors are saved on the CPU, so that torch.load reads them on any machine.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        self._write_whole(Path(path), lambda file: torch.save(_on_cpu(checkpoint), file))

    def _write_whole(self, place: Path, write: Callable[[BinaryIO], None]) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.draft")  # one name, so that leftovers of a kill are overwritten
        try:
            draft.unlink(missing_ok=True)
            with draft.open("xb") as file:  # never follows a link of that name
                write(file)
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
    are worth a write (`worth_of`). A later checkpoint of the same name replaces the held one.

    The end of a phase or run calls `write_held`, which writes everything that is held, so that only a process killed
    outright resumes from an older file. Rank 0 alone holds and decides; the others take part in gathering each
    checkpoint, written or not, so that there is nothing to agree on.
    """

    took: ClassVar[float | None] = None  # seconds of this process's last write; the next run of a sweep uses it

    def __init__(self) -> None:
        super().__init__()
        self._waits: Waits | None = None
        self._held: dict[Path, dict[str, Any]] = {}
        self._monitored: set[Path] = set()  # files of checkpoints that are `first`
        self._weights: dict[Path, tuple[Stamp, dict[str, Any]]] = {}  # of those, as the last phase ended
        self._rested: dict[tuple[str, int, int], Tensor] = {}  # copies by name, data pointer and version
        self._writing = 0.0  # seconds spent on writing, which are not work
        self._begun = self._worked()
        self._written: dict[Path, float] = {}  # in seconds of work

    def begin(self) -> None:
        """Start to count unsaved work."""
        self._weights = {}
        self._begun = self._worked()
        self._written = {}

    def unsaved_seconds(self, path: Path) -> float:
        """Seconds of work since that file was written, or since `begin`."""
        return self._worked() - self._written.get(path, self._begun)

    def take(self, path: Path) -> dict[str, Any] | None:
        """Hand over the weights of a file that was written at the end of the phase, so that the best need not be read
        back; None if there are none, or if another file took its place."""
        stamp, content = self._weights.pop(path, (None, None))
        return content if path.is_file() and stamp_of(path) == stamp else None

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
        if waits is not None and not self._is_worth(place) and _num_bytes(checkpoint) < SHARE * free_memory():
            held = {place: self._copy(checkpoint, waits.resting)}
            self._held = held | self._held if waits.first else self._held | held
            self._monitored |= {place} if waits.first else set()
            return
        if waits is None or not waits.first:
            self.write_held()
        self._write(checkpoint, place)

    def write_held(self, *, keep: bool = False) -> None:
        """Write all held checkpoints; those with the same content as copies of one file. keep: keep the weights of the
        best for `take`. If a write fails, raises RunError and drops the rest, which may refer to it."""
        held, self._held, self._rested = self._held, {}, {}
        written: dict[Path, dict[str, Any]] = {}
        for place, checkpoint in held.items():
            alike = next((path for path, other in written.items() if _same(other, checkpoint)), None)
            self._write(checkpoint, place, alike)
            written[place] = checkpoint
            if keep and place in self._monitored:
                weights = {key: value for key, value in checkpoint.items() if key not in OF_TRAINING}
                self._weights[place] = stamp_of(place), weights

    def _is_worth(self, place: Path) -> bool:
        return LateFiles.took is None or self.unsaved_seconds(place) >= worth_of(LateFiles.took)

    def _write(self, checkpoint: dict[str, Any], place: Path, alike: Path | None = None) -> None:
        """alike: a file with the same content. To copy one of 107 MB takes 0.1 s instead of 0.4 (AMD EPYC, ext4,
        2026-11-30)."""
        begun = time.monotonic()
        if alike is None:
            super().save_checkpoint(checkpoint, place)
            LateFiles.took = time.monotonic() - begun
        else:
            self._write_whole(place, partial(_copy_content, alike))
        self._writing += time.monotonic() - begun
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


def _copy_content(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, file, CHUNK)


def _same(a: Any, b: Any) -> bool:
    """Whether two checkpoints hold the same values, those of tensors and numbers bit by bit. False for values of other
    types than Frostline writes, such as a state of a user's own callback."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    match a:
        case Tensor():
            return same_bits(a, b)
        case dict():
            return list(a) == list(b) and all(_same(value, b[key]) for key, value in a.items())
        case list() | tuple():
            return len(a) == len(b) and all(map(_same, a, b))
        case float():
            return a.hex() == b.hex()
        case bool() | int() | str():
            return bool(a == b)
    return False


def _on_cpu(checkpoint: dict[str, Any]) -> dict[str, Any]:
    elsewhere = {id(tensor): tensor.detach().cpu() for tensor in _tensors(checkpoint) if not tensor.is_cpu}
    memo: dict[int, Any] = {id(tensor): tensor for tensor in _tensors(checkpoint)} | elsewhere
    return copy.deepcopy(checkpoint, memo) if elsewhere else checkpoint  # tensors in the memo are not copied again


def _num_bytes(checkpoint: dict[str, Any]) -> int:
    return sum(tensor.nbytes for tensor in _tensors(checkpoint))
