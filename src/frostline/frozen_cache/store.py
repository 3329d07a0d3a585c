"""Where rows of numbers lie on disk, by key: made a region at a time, by any number of processes, and never half.

    <folder>/<key>/entry.json     shape and type of a row, how many, what they are of; its time is that of the last use
    <folder>/<key>/rows.bin       the rows, memory-mapped
    <folder>/<key>/regions/<n>    the checksum of REGION rows once they are there; locked while they are made
    <folder>/<key>/scores-*.json  what was found out about the rows (baselines.py); goes with them

A process that makes a region holds its lock: others make other regions meanwhile, then wait for it. A process that is
killed lets go of its locks and leaves regions without a checksum, which the next one makes. A region whose rows do not
fit its checksum is made again.
"""

import errno
import fcntl
import json
import os
import shutil
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frostline.errors import first_line
from frostline.paths import write_atomically

REGION = 256  # rows; a multiple of the chunks of frozen work
ENTRY = "entry.json"
GONE = ".gone-"

Make = Callable[[list[int]], Tensor]


class Filled(NamedTuple):
    """Rows that were there, and rows that this process made."""

    found: int
    made: int


class Kept(NamedTuple):
    """An entry as it lies there. used: seconds since the epoch."""

    folder: Path
    num_bytes: int
    used: float
    said: dict[str, Any]


class Store:
    """max_bytes: of all entries together; the least recently used ones go first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def entry(self, key: str, rows: int, shape: tuple[int, ...], dtype: torch.dtype, said: dict[str, Any]) -> "Entry":
        """Made where it is not there. Raises OSError where there is no room for it,
        or the folder cannot be written."""
        folder = self.folder / key
        plain = {"rows": rows, "shape": list(shape), "dtype": str(dtype).removeprefix("torch."), "said": said}
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / ".lock"):
            if not _is_whole(folder, plain):
                if not _remove(folder):
                    raise OSError(errno.EBUSY, f"a process uses an entry that is damaged: {folder}")
                self._make_room(rows * _row_bytes(shape, dtype))
                _lay_out(folder, plain, rows * _row_bytes(shape, dtype))
            os.utime(folder / ENTRY)
            return Entry(folder, rows, shape, dtype)

    def has(self, key: str) -> bool:
        """Whether all of it is there, as far as its regions say."""
        try:
            rows = json.loads((self.folder / key / ENTRY).read_text())["rows"]
            regions = self.folder / key / "regions"
            return all((regions / str(number)).stat().st_size > 0 for number in range(-(-rows // REGION)))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def entries(self) -> list[Kept]:
        """The most recently used first."""
        folders = [path.parent for path in self.folder.glob(f"*/{ENTRY}")]
        found = [_kept(folder) for folder in folders if not folder.name.startswith(GONE)]
        return sorted((kept for kept in found if kept is not None), key=lambda kept: -kept.used)

    def clear(self) -> list[Kept]:
        """All that no process is using; gives what went."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / ".lock"):
            self._sweep()
            return [kept for kept in self.entries() if _remove(kept.folder)]

    def _sweep(self) -> None:
        """What a process left that was killed while it removed an entry."""
        for folder in self.folder.glob(f"{GONE}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, num_bytes: int) -> None:
        self._sweep()
        kept = self.entries()
        total = sum(entry.num_bytes for entry in kept)
        if num_bytes > self.max_bytes:
            raise OSError(errno.ENOSPC, f"{num_bytes:,} bytes are more than the {self.max_bytes:,} allowed")
        while kept and total + num_bytes > self.max_bytes:
            oldest = kept.pop()
            if _remove(oldest.folder):
                total -= oldest.num_bytes
        if total + num_bytes > self.max_bytes:
            raise OSError(errno.ENOSPC, "all that is kept there is in use")


class Entry:
    """rows: (N, ...), memory-mapped. In use until the object is gone: it is not removed before."""

    def __init__(self, folder: Path, num_rows: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.folder = folder
        self.num_bytes = num_rows * _row_bytes(shape, dtype)
        in_use = os.open(folder / ENTRY, os.O_RDONLY)
        weakref.finalize(self, os.close, in_use)
        fcntl.flock(in_use, fcntl.LOCK_SH)
        numbers = num_rows * torch.Size(shape).numel()
        try:
            flat = torch.from_file(str(folder / "rows.bin"), shared=True, size=numbers, dtype=dtype)
        except RuntimeError as error:  # torch's word for what the system refuses
            raise OSError(errno.EIO, f"the rows cannot be mapped: {first_line(error)}") from error
        self.rows = flat.view(num_rows, *shape)

    def fill(self, make: Make) -> Filled:
        """make: places → their rows. Every region is there afterwards, made here or by another process."""
        regions = self.rows.split(REGION)
        waiting, made = [], 0
        for number in range(len(regions)):
            with self._claimed(number, wait=False) as marker:
                if marker is None:
                    waiting.append(number)
                else:
                    made += self._require(number, regions[number], marker, make)
        for number in waiting:
            with self._claimed(number, wait=True) as marker:
                assert marker is not None
                made += self._require(number, regions[number], marker, make)
        return Filled(len(self.rows) - made, made)

    def _require(self, number: int, region: Tensor, marker: int, make: Make) -> int:
        """How many rows had to be made."""
        said = os.pread(marker, 64, 0).decode(errors="replace")
        if said == _checksum(region):
            return 0
        if said:
            warnings.warn(f"kept outputs of frozen blocks are damaged, and made anew: {self.folder}", stacklevel=2)
        os.ftruncate(marker, 0)
        region.copy_(make(list(range(number * REGION, number * REGION + len(region)))))
        self._flush()
        os.pwrite(marker, _checksum(region).encode(), 0)
        os.fsync(marker)
        return len(region)

    def _flush(self) -> None:
        with (self.folder / "rows.bin").open("rb+") as file:
            os.fsync(file.fileno())

    @contextmanager
    def _claimed(self, number: int, *, wait: bool) -> Iterator[int | None]:
        """None where another process has it and is not waited for."""
        handle = os.open(self.folder / "regions" / str(number), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield handle if _lock(handle, wait=wait) else None
        finally:
            os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _row_bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize


def _checksum(region: Tensor) -> str:
    return f"{zlib.crc32(region.contiguous().view(-1).view(torch.uint8).numpy().data):08x}"


def _lay_out(folder: Path, plain: dict[str, Any], num_bytes: int) -> None:
    """Room is taken at once: a disk that is full says so now. Raises OSError."""
    try:
        (folder / "regions").mkdir(parents=True)
        write_atomically(folder / ENTRY, json.dumps(plain))  # first: what is listed can be removed
        with (folder / "rows.bin").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_whole(folder: Path, plain: dict[str, Any]) -> bool:
    kept = _kept(folder)
    if kept is None:
        return False
    num_bytes = plain["rows"] * _row_bytes(tuple(plain["shape"]), getattr(torch, plain["dtype"]))
    if kept.num_bytes == num_bytes and (folder / "regions").is_dir():
        return True
    warnings.warn(f"kept outputs of frozen blocks are damaged, and made anew: {folder}", stacklevel=3)
    return False


def _kept(folder: Path) -> Kept | None:
    """None where it is no entry, or one that goes away at this moment."""
    try:
        entry = folder / ENTRY
        plain = json.loads(entry.read_text())
        rows = folder / "rows.bin"
        num_bytes = rows.stat().st_size if rows.exists() else 0
        return Kept(folder, num_bytes, entry.stat().st_mtime, plain["said"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(folder: Path) -> bool:
    """False where a process uses it."""
    try:
        with (folder / ENTRY).open("rb+") as entry:
            if not _lock(entry.fileno(), wait=False):
                return False
    except FileNotFoundError:
        pass  # it never had one
    except PermissionError:
        return False
    if folder.is_dir():
        gone = folder.rename(folder.with_name(f"{GONE}{folder.name}"))
        shutil.rmtree(gone, ignore_errors=True)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
