"""An entry of a store: rows of numbers in one file, made a region at a time, by any number of processes, never half.

    entry.json     what its rows are, and of what; its time is that of the last use
    rows.bin       the rows, memory-mapped
    lengths.bin    how many numbers each row has, where they are not of one shape
    regions/<n>    the checksum of a region's rows once they are there; locked while they are made
    scores-*.json  what was found out about the rows (baselines.py)

A process that makes a region holds its lock: others make other regions meanwhile, then wait for it. A process that is
killed lets go of its locks and leaves regions without a checksum, which the next one makes. A region whose rows do not
fit its checksum is made again.
"""

import errno
import fcntl
import json
import os
import tempfile
import warnings
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frostline.errors import first_line
from frostline.paths import write_atomically
from frostline.storage.locks import lock

REGION = 256  # rows; a multiple of the chunks of frozen work
REGION_BYTES = 2**26  # of a region whose rows are not of one shape, or of one row: it is in memory while it is made
ENTRY = "entry.json"
ROWS = "rows.bin"
LENGTHS = "lengths.bin"
GONE = ".gone-"

Make = Callable[[list[int]], Tensor]


class Rows(NamedTuple):
    """lengths: (N,) int64, numbers of each row where they are not of one shape; `shape` is () then."""

    number: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    lengths: Tensor | None = None

    @property
    def starts(self) -> Tensor:
        """(N + 1,) int64: where each row begins, and where the last one ends."""
        assert self.lengths is not None
        return torch.cat([torch.zeros(1, dtype=torch.int64), self.lengths.cumsum(0)])

    @property
    def numbers(self) -> int:
        return self.number * torch.Size(self.shape).numel() if self.lengths is None else int(self.lengths.sum())

    @property
    def num_bytes(self) -> int:
        return self.numbers * self.dtype.itemsize

    def regions(self) -> list[int]:
        """The first row of each, and the number of rows."""
        if self.lengths is None:
            return [*range(0, self.number, REGION), self.number]
        starts, firsts = self.starts, [0]
        while firsts[-1] < self.number:
            first = firsts[-1]
            within = int(torch.searchsorted(starts, starts[first] + REGION_BYTES, right=True)) - 1
            firsts.append(min(max(within, first + 1), first + REGION, self.number))
        return firsts

    def plain(self) -> dict[str, Any]:
        said = {"rows": self.number, "shape": list(self.shape), "dtype": str(self.dtype).removeprefix("torch.")}
        own = {} if self.lengths is None else {"lengths": _checksum(self.lengths)}
        return said | own | {"regions": len(self.regions()) - 1}


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

    @property
    def kind(self) -> str:
        return self.folder.parent.name


class Entry:
    """flat: all numbers, memory-mapped. starts: as of `Rows`, of rows that are not of one shape.

    In use until the object is gone: it is not removed before.
    """

    def __init__(self, folder: Path, layout: Rows) -> None:
        self.folder = folder
        self.layout = layout
        self.starts = None if layout.lengths is None else layout.starts
        in_use = os.open(folder / ENTRY, os.O_RDONLY)
        self.let_go = weakref.finalize(self, os.close, in_use)
        fcntl.flock(in_use, fcntl.LOCK_SH)
        try:
            self.flat = torch.from_file(str(folder / ROWS), shared=True, size=layout.numbers, dtype=layout.dtype)
        except RuntimeError as error:  # torch's word for what the system refuses
            raise OSError(errno.EIO, f"the rows cannot be mapped: {first_line(error)}") from error

    @property
    def num_bytes(self) -> int:
        return self.layout.num_bytes

    @property
    def rows(self) -> Tensor:
        """(N, ...), of rows of one shape."""
        return self.flat.view(self.layout.number, *self.layout.shape)

    def fill(self, make: Make) -> Filled:
        """make: places → their rows, one after the other. Every region is there afterwards, made here or by another
        process."""
        regions = list(pairwise(self.layout.regions()))
        waiting, made = [], 0
        for number, places in enumerate(regions):
            with self._claimed(number, wait=False) as marker:
                if marker is None:
                    waiting.append(number)
                else:
                    made += self._require(places, marker, make)
        for number in waiting:
            with self._claimed(number, wait=True) as marker:
                assert marker is not None
                made += self._require(regions[number], marker, make)
        return Filled(self.layout.number - made, made)

    def _require(self, places: tuple[int, int], marker: int, make: Make) -> int:
        """How many rows had to be made."""
        first, end = places
        region = self._numbers(first, end)
        said = os.pread(marker, 64, 0).decode(errors="replace")
        if said == _checksum(region):
            return 0
        if said:
            warnings.warn(f"what is kept is damaged, and made anew: {self.folder}", stacklevel=2)
        os.ftruncate(marker, 0)
        region.copy_(make(list(range(first, end))).reshape(-1))
        self._flush()
        os.pwrite(marker, _checksum(region).encode(), 0)
        os.fsync(marker)
        return end - first

    def _numbers(self, first: int, end: int) -> Tensor:
        if self.starts is None:
            return self.rows[first:end].view(-1)
        return self.flat[int(self.starts[first]) : int(self.starts[end])]

    def _flush(self) -> None:
        with (self.folder / ROWS).open("rb+") as file:
            os.fsync(file.fileno())

    @contextmanager
    def _claimed(self, number: int, *, wait: bool) -> Iterator[int | None]:
        """None where another process has it and is not waited for."""
        handle = os.open(self.folder / "regions" / str(number), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield handle if lock(handle, self.folder, wait=wait) else None
        finally:
            os.close(handle)


# --- the files of an entry; the store's lock is held ---


def lay_out(folder: Path, layout: Rows, said: dict[str, Any]) -> None:
    """Room is taken at once: a disk that is full says so now. Raises OSError."""
    try:
        (folder / "regions").mkdir(parents=True)
        # First: what is listed can be removed.
        write_atomically(folder / ENTRY, json.dumps(layout.plain() | {"said": said}))
        if layout.lengths is not None:
            (folder / LENGTHS).write_bytes(_bytes(layout.lengths))
        with (folder / ROWS).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, layout.num_bytes)
    except OSError:
        clear(folder)
        raise


def is_whole(folder: Path, layout: Rows) -> bool:
    kept = kept_at(folder)
    if kept is None:
        return False
    lengths = layout.lengths is None or lengths_at(folder) is not None
    if kept.num_bytes == layout.num_bytes and lengths and (folder / "regions").is_dir():
        return True
    warnings.warn(f"what is kept is damaged, and made anew: {folder}", stacklevel=4)
    return False


def kept_at(folder: Path) -> Kept | None:
    """None where it is no entry, or one that goes away at this moment."""
    try:
        entry = folder / ENTRY
        plain = json.loads(entry.read_text())
        rows = folder / ROWS
        num_bytes = rows.stat().st_size if rows.exists() else 0
        return Kept(folder, num_bytes, entry.stat().st_mtime, plain["said"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lengths_at(folder: Path) -> Tensor | None:
    """None where they are not there, or damaged."""
    try:
        said = json.loads((folder / ENTRY).read_text())["lengths"]
        lengths = torch.frombuffer(bytearray((folder / LENGTHS).read_bytes()), dtype=torch.int64)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return lengths if _checksum(lengths) == said else None


def has_all(folder: Path) -> bool:
    """As far as its regions say."""
    try:
        number = json.loads((folder / ENTRY).read_text())["regions"]
        return all((folder / "regions" / str(n)).stat().st_size > 0 for n in range(number))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remove(folder: Path) -> bool:
    """False where a process uses it."""
    try:
        with (folder / ENTRY).open("rb+") as entry:
            if not lock(entry.fileno(), folder, wait=False):
                return False
    except FileNotFoundError:
        pass  # it never had one
    except PermissionError:
        return False
    if folder.is_dir():
        gone = Path(tempfile.mkdtemp(prefix=f"{GONE}{folder.name}-", dir=folder.parent))
        clear(folder.rename(gone))
    return True


def clear(folder: Path) -> None:
    """Remove the files of an entry, and the folder if nothing else lies in it."""
    regions = [path for path in folder.glob("regions/*") if path.name.isdigit()]
    drafts = [path for path in folder.glob(".*.json.*") if path.suffix[1:].isdigit()]  # of a process that was killed
    for path in (*regions, *drafts, *folder.glob("scores-*.json"), folder / ROWS, folder / LENGTHS, folder / ENTRY):
        with suppress(OSError):
            path.unlink(missing_ok=True)
    for path in (folder / "regions", folder):
        with suppress(OSError):
            path.rmdir()


def _checksum(numbers: Tensor) -> str:
    return f"{zlib.crc32(_bytes(numbers)):08x}"


def _bytes(numbers: Tensor) -> memoryview:
    return numbers.contiguous().view(-1).view(torch.uint8).numpy().data
