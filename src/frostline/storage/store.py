"""What is kept on disk for later runs, by kind and key, within one limit.

<root>/frozen/<key>/     an entry: outputs of frozen blocks
<root>/decoded/<key>/    an entry: decoded pictures
<root>/tokens/<key>/     an entry: texts as tokens
<root>/.lock             held while entries are laid out and removed
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

# The share of the limit that entries of a kind may take together. Pictures are in use for as long as the run is:
# without a bound of their own they would leave no room for what it computes.
SHARES = {"frozen": 1.0, "decoded": 0.5, "tokens": 0.5}

StoreKind = Literal["frozen", "decoded", "tokens"]


class Store:
    """max_bytes: of all entries under `root` together, of any kind; the least recently used ones go first."""

    def __init__(self, root: Path, max_bytes: int, kind: StoreKind = "frozen") -> None:
        self.root = root
        self.folder = root / kind
        self.max_bytes = max_bytes
        self.most_of_kind = int(SHARES[kind] * max_bytes)

    def entry(self, key: str, rows: int, shape: tuple[int, ...], dtype: torch.dtype, said: dict[str, Any]) -> Entry:
        """Made where it is not there. Raises OSError where there is no room for it,
        or the folder cannot be written."""
        return self._opened(key, Rows(rows, shape, dtype), said)

    def ragged(
        self, key: str, measure: Callable[[], Tensor], said: dict[str, Any], dtype: torch.dtype = torch.uint8
    ) -> Entry:
        """Of rows that are not of one length. measure: numbers of each, (N,) int64; asked where that is not kept.
        Raises as `entry` does."""
        lengths = lengths_at(self.folder / key)
        lengths = measure() if lengths is None else lengths
        return self._opened(key, Rows(len(lengths), (), dtype, lengths), said)

    def _opened(self, key: str, layout: Rows, said: dict[str, Any]) -> Entry:
        folder = self.folder / key
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not is_whole(folder, layout):
                if not remove(folder):
                    raise OSError(errno.EBUSY, f"a process uses an entry that is damaged: {folder}")
                self._make_room(layout.num_bytes)
                lay_out(folder, layout, said)
            os.utime(folder / ENTRY)
            return Entry(folder, layout)

    def has(self, key: str) -> bool:
        """Whether all of it is there, as far as its regions say."""
        return has_all(self.folder / key)

    def entries(self) -> list[Kept]:
        """Of every kind; the most recently used first."""
        folders = [path.parent for kind in SHARES for path in self.root.glob(f"{kind}/*/{ENTRY}")]
        found = [kept_at(folder) for folder in folders if not folder.name.startswith(GONE)]
        return sorted((kept for kept in found if kept is not None), key=lambda kept: -kept.used)

    def clear(self) -> list[Kept]:
        """All that no process is using; gives what went."""
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
        """An entry that will not become whole, unless another process is at work on it."""
        entry.let_go()
        with self._locked():
            remove(entry.folder)

    def _sweep(self) -> None:
        """What a process left that was killed while it removed an entry."""
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
    """Removes the least recently used ones until so many bytes more are within the limit. Raises OSError."""
    total = sum(entry.num_bytes for entry in kept)
    for oldest in reversed(kept):
        if total + num_bytes > max_bytes and remove(oldest.folder):
            total -= oldest.num_bytes
    if total + num_bytes > max_bytes:
        raise OSError(errno.ENOSPC, "all that is kept there is in use")
