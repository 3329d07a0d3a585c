"""An entry of a store: rows of numbers in one file, computed region by region, by any number of processes.

    entry.json     layout of the rows, and what they come from; its mtime is the time of last use
    rows.bin       the rows, memory-mapped
    lengths.bin    numbers per row, if rows differ in length
    regions/<n>    checksum of a region's rows, written when they are complete; locked until then
    scores-*.json  scores of probes on the rows (baselines.py)

A process locks the region that it computes; others compute other regions meanwhile, then wait for it. A killed process
releases its locks and leaves a region without a checksum, which the next process computes. A region whose rows do not
match its checksum is computed again.
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

REGION = 256  # rows; a multiple of the chunks of pictures in frozen work
REGION_BYTES = 2**26  # numbers in a region of ragged rows, unless one row has more; in memory while it is computed
ENTRY = "entry.json"
ROWS = "rows.bin"
LENGTHS = "lengths.bin"
GONE = ".gone-"

Make = Callable[[list[int]], Tensor]


class Rows(NamedTuple):
    """Layout of the rows. lengths: (N,) int64, numbers per row if rows differ in length; `shape` is () then."""

    number: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    lengths: Tensor | None = None

    @property
    def starts(self) -> Tensor:
        """(N + 1,) int64: the offset of each row, and the end of the last one."""
        assert self.lengths is not None
        return torch.cat([torch.zeros(1, dtype=torch.int64), self.lengths.cumsum(0)])

    @property
    def numbers(self) -> int:
        return self.number * torch.Size(self.shape).numel() if self.lengths is None else int(self.lengths.sum())

    @property
    def num_bytes(self) -> int:
        return self.numbers * self.dtype.itemsize

    def regions(self) -> list[int]:
        """The first row of each region, then the number of rows."""
        if self.lengths is None:
            return [*range(0, self.number, REGION), self.number]
        starts, firsts = self.starts, [0]
        while firsts[-1] < self.number:
            first = firsts[-1]
            within = int(torch.searchsorted(starts, starts[first] + REGION_BYTES, right=True)) - 1
            firsts.append(min(max(within, first + 1), first + REGION, self.number))
        return firsts

    def plain(self) -> dict[str, Any]:
        plain = {"rows": self.number, "shape": list(self.shape), "dtype": str(self.dtype).removeprefix("torch.")}
        own = {} if self.lengths is None else {"lengths": _checksum(self.lengths)}
        return plain | own | {"regions": len(self.regions()) - 1}


class Filled(NamedTuple):
    """made: rows that this process computed. found: all other rows."""

    found: int
    made: int


class Kept(NamedTuple):
    """An entry on disk. used: time of last use, in seconds since the epoch."""

    folder: Path
    num_bytes: int
    used: float
    about: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.folder.parent.name


class Entry:
    """An open entry; not removed before `let_go` is called or the object is deleted.

    flat: all numbers, memory-mapped. starts: see `Rows`; None if all rows have one shape.
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
        except RuntimeError as error:  # torch's error for a refused mmap
            raise OSError(errno.EIO, f"the rows cannot be mapped: {first_line(error)}") from error

    @property
    def num_bytes(self) -> int:
        return self.layout.num_bytes

    @property
    def rows(self) -> Tensor:
        """(N, *shape), for rows of one shape."""
        return self.flat.view(self.layout.number, *self.layout.shape)

    def fill(self, make: Make) -> Filled:
        """Compute missing regions, and wait for those of other processes. make: row indices → rows, concatenated."""
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
        """Compute a region unless it matches its checksum. Return the number of computed rows."""
        first, end = places
        region = self._numbers(first, end)
        checksum = os.pread(marker, 64, 0).decode(errors="replace")
        if checksum == _checksum(region):
            return 0
        if checksum:
            warnings.warn(f"a cache entry is damaged and will be computed again: {self.folder}", stacklevel=2)
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
        """Lock a region. Yield its open checksum file, or None if `wait` is False and another process has the lock."""
        handle = os.open(self.folder / "regions" / str(number), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield handle if lock(handle, self.folder, wait=wait) else None
        finally:
            os.close(handle)


# --- the files of an entry; created and removed under the store's lock ---


def lay_out(folder: Path, layout: Rows, about: dict[str, Any]) -> None:
    """Create an entry and allocate its disk space. Raises OSError if the disk is full."""
    try:
        (folder / "regions").mkdir(parents=True)
        # Written first: only folders with this file are listed, and so can be removed.
        write_atomically(folder / ENTRY, json.dumps(layout.plain() | {"said": about}))
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
    warnings.warn(f"a cache entry is damaged and will be computed again: {folder}", stacklevel=4)
    return False


def kept_at(folder: Path) -> Kept | None:
    """None if the folder is not an entry, or is being removed."""
    try:
        entry = folder / ENTRY
        plain = json.loads(entry.read_text())
        rows = folder / ROWS
        num_bytes = rows.stat().st_size if rows.exists() else 0
        return Kept(folder, num_bytes, entry.stat().st_mtime, plain["said"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lengths_at(folder: Path) -> Tensor | None:
    """(N,) int64; None if the lengths are missing or damaged."""
    try:
        checksum = json.loads((folder / ENTRY).read_text())["lengths"]
        lengths = torch.frombuffer(bytearray((folder / LENGTHS).read_bytes()), dtype=torch.int64)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return lengths if _checksum(lengths) == checksum else None


def has_all(folder: Path) -> bool:
    """Whether every region has a checksum, verified or not."""
    try:
        number = json.loads((folder / ENTRY).read_text())["regions"]
        return all((folder / "regions" / str(n)).stat().st_size > 0 for n in range(number))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remove(folder: Path) -> bool:
    """Remove an entry. Return False if a process uses it or it may not be opened."""
    try:
        with (folder / ENTRY).open("rb+") as entry:
            if not lock(entry.fileno(), folder, wait=False):
                return False
    except FileNotFoundError:
        pass  # missing or incomplete, so not in use
    except PermissionError:
        return False
    if folder.is_dir():
        gone = Path(tempfile.mkdtemp(prefix=f"{GONE}{folder.name}-", dir=folder.parent))
        clear(folder.rename(gone))
    return True


def clear(folder: Path) -> None:
    """Remove the files of an entry, and the folder if nothing else lies in it."""
    regions = [path for path in folder.glob("regions/*") if path.name.isdigit()]
    drafts = [path for path in folder.glob(".*.json.*") if path.suffix[1:].isdigit()]  # left by killed processes
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
