"""The cache on disk: entries by kind and key, under one size limit.

<root>/frozen/<key>/     an entry: outputs of frozen blocks
<root>/decoded/<key>/    an entry: decoded pictures
<root>/tokens/<key>/     an entry: texts as tokens
<root>/.lock             locked while entries are created or removed
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from frostline.storage.entry import (
    ENTRY,
    GONE,
    Entry,
    Kept,
    Rows,
    clear,
    has_all,
    is_whole,
    kept_at,
    lay_out,
    lengths_at,
    remove,
)
from frostline.storage.locks import lock

# Share of the size limit that each kind may take. Pictures are in use until the run ends: without a limit of their own
# they would leave no room for frozen outputs.
SHARES = {"frozen": 1.0, "decoded": 0.5, "tokens": 0.5}

StoreKind = Literal["frozen", "decoded", "tokens"]


class Store:
    """max_bytes: limit for all entries under `root`, of every kind; the least recently used are removed first."""

    def __init__(self, root: Path, max_bytes: int, kind: StoreKind = "frozen") -> None:
        self.root = root
        self.folder = root / kind
        self.max_bytes = max_bytes
        self.most_of_kind = int(SHARES[kind] * max_bytes)

    def entry(self, key: str, rows: int, shape: tuple[int, ...], dtype: torch.dtype, about: dict[str, Any]) -> Entry:
        """Open an entry; create it if it is missing or damaged. Raises OSError if there is no room for it, the folder
        cannot be written, or a process uses the damaged entry."""
        return self._opened(key, Rows(rows, shape, dtype), about)

    def ragged(
        self, key: str, measure: Callable[[], Tensor], about: dict[str, Any], dtype: torch.dtype = torch.uint8
    ) -> Entry:
        """`entry` for rows that differ in length. measure: returns the numbers per row, (N,) int64; called only if they
        are not cached."""
        lengths = lengths_at(self.folder / key)
        lengths = measure() if lengths is None else lengths
        return self._opened(key, Rows(len(lengths), (), dtype, lengths), about)

    def _opened(self, key: str, layout: Rows, about: dict[str, Any]) -> Entry:
        folder = self.folder / key
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not is_whole(folder, layout):
                if not remove(folder):
                    raise OSError(errno.EBUSY, f"a cache entry is damaged, but a process uses it: {folder}")
                self._make_room(layout.num_bytes)
                lay_out(folder, layout, about)
            os.utime(folder / ENTRY)
            return Entry(folder, layout)

    def has(self, key: str) -> bool:
        """Whether every region has a checksum, verified or not."""
        return has_all(self.folder / key)

    def entries(self) -> list[Kept]:
        """Entries of every kind, the most recently used first."""
        folders = [path.parent for kind in SHARES for path in self.root.glob(f"{kind}/*/{ENTRY}")]
        found = [kept_at(folder) for folder in folders if not folder.name.startswith(GONE)]
        return sorted((kept for kept in found if kept is not None), key=lambda kept: -kept.used)

    def clear(self) -> list[Kept]:
        """Remove every entry that no process uses. Return the removed ones."""
        if not self.root.is_dir():
            return []
        with self._locked():
            self._sweep()
            return [kept for kept in self.entries() if remove(kept.folder)]

    def tell(self, what: str, error: OSError) -> None:
        print(
            f"frostline: {what}: {error.strerror or error}\n"
            f"  where: {self.folder}\n"
            f"  next:  cache.dir=<a folder with room>, cache.max_gigabytes=<number>, or cache=never",
            file=sys.stderr,
        )

    def discard(self, entry: Entry) -> None:
        """Remove an entry that cannot be completed, unless another process uses it."""
        entry.let_go()
        with self._locked():
            remove(entry.folder)

    def _sweep(self) -> None:
        """Finish removals that a killed process left half-done."""
        for kind in SHARES:
            for folder in self.root.glob(f"{kind}/{GONE}*"):
                clear(folder)

    def _make_room(self, num_bytes: int) -> None:
        self._sweep()
        if num_bytes > self.most_of_kind:
            raise OSError(errno.ENOSPC, f"{num_bytes:,} bytes are more than the {self.most_of_kind:,} allowed")
        own = [kept for kept in self.entries() if kept.kind == self.folder.name]
        _require_room(own, num_bytes, self.most_of_kind)
        _require_room(self.entries(), num_bytes, self.max_bytes)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("wb") as file:
            lock(file.fileno(), self.root, wait=True)
            yield


def _require_room(kept: Sequence[Kept], num_bytes: int, max_bytes: int) -> None:
    """Remove the least recently used entries until `num_bytes` more fit. Raises OSError if they do not."""
    total = sum(entry.num_bytes for entry in kept)
    for oldest in reversed(kept):
        if total + num_bytes > max_bytes and remove(oldest.folder):
            total -= oldest.num_bytes
    if total + num_bytes > max_bytes:
        raise OSError(errno.ENOSPC, "the cache is full, and other processes use its entries")
