"""Pictures decoded once, on all cores, and kept for later runs. Shapes: N pictures, uint8."""

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from frostline.errors import FrostlineError
from frostline.storage.entry import Entry
from frostline.storage.key import key_of
from frostline.storage.store import Store

LAYOUT = 1  # of rows, and of how pictures are decoded: another number forgets all that was kept
BAR = 24  # characters
CHUNK = 32  # small pictures that a thread takes at a time: to hand out one costs as much as to decode it

Decode = Callable[[int], Tensor]


class SampleCache:
    """store: None where nothing is written to disk. shows: whether the progress of decoding is. leads: whether this
    process speaks for all of a run.
    """

    def __init__(self, store: Store | None, *, shows: bool = False, leads: bool = True) -> None:
        self.store = store
        self.shows = shows and leads
        self.leads = leads

    def has_room(self, num_bytes: int) -> bool:
        """For so many, if all else went."""
        if self.store is not None and num_bytes > self.store.most_of_kind:
            wanted, most = num_bytes / 1e9, self.store.most_of_kind / 1e9
            self.give_up(
                "decoded pictures",
                OSError(errno.ENOSPC, f"some {wanted:,.1f} GB are more than the {most:,.1f} for them"),
            )
        return self.store is not None

    def uniform(
        self, source: dict[str, Any], shape: tuple[int, ...], number: int, decode: Decode, name: str
    ) -> tuple[Tensor, Entry | None]:
        """(N, ...) of pictures of one shape: as they are kept, with the entry that is in use then, else in memory.
        source: what makes them what they are. Raises what `decode` raises."""
        if self.store is not None:
            try:
                entry = self.store.entry(_key(source), number, shape, torch.uint8, _said(name, shape[-1], number))
                self._fill(self.store, entry, decode, torch.stack)
                return entry.rows, entry
            except OSError as error:
                self.give_up("decoded pictures", error)
        pixels = torch.empty(number, *shape, dtype=torch.uint8)
        with Decoder(number, shows=self.shows) as decoder:
            for row, picture in zip(pixels, decoder(decode, range(number)), strict=True):
                row.copy_(picture)
        return pixels, None

    def ragged(
        self, source: dict[str, Any], measure: Decode, number: int, decode: Decode, name: str, side: int
    ) -> Entry | None:
        """Pictures of several sizes as rows of bytes. measure: bytes of one, as a number. None where they are not kept.
        Raises what `measure` and `decode` raise, but for OSError."""
        if self.store is None:
            return None

        def lengths() -> Tensor:
            with Decoder(number, shows=False) as decoder:
                return torch.stack(list(decoder(measure, range(number))))

        try:
            entry = self.store.ragged(_key(source), lengths, _said(name, side, number))
            self._fill(self.store, entry, decode, torch.cat)
            return entry
        except OSError as error:
            self.give_up("decoded pictures", error)
            return None

    def _fill(self, store: Store, entry: Entry, decode: Decode, together: Callable[[list[Tensor]], Tensor]) -> None:
        try:
            with Decoder(entry.layout.number, shows=self.shows) as decoder:
                entry.fill(lambda places: together(list(decoder(decode, places))))
        except (FrostlineError, OSError):  # once the picture is mended, the data will have another key
            store.discard(entry)
            raise

    def give_up(self, what: str, error: OSError) -> None:
        """For this run; what it sees is the same."""
        assert self.store is not None
        if self.leads:
            self.store.tell(f"{what} are not cached", error)
        self.store = None


class Decoder:
    """Decodes on all cores, in order. shows: a bar on stderr, which counts over all calls."""

    def __init__(self, number: int, *, shows: bool) -> None:
        self.number = number
        self.shows = shows
        self.done = 0
        self._cores = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._cores)  # Pillow lets go of the interpreter while it decodes and resizes

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self.shows and self.done:
            print(file=sys.stderr)

    def __call__(self, decode: Decode, places: Sequence[int]) -> Iterator[Tensor]:
        size = max(1, min(CHUNK, len(places) // (8 * self._cores)))
        chunks = [places[at : at + size] for at in range(0, len(places), size)]
        for pictures in self._pool.map(lambda chunk: [decode(place) for place in chunk], chunks):
            self._count(len(pictures))
            yield from pictures

    def _count(self, more: int) -> None:
        before, self.done = self.done, self.done + more
        if self.shows and before * 100 // self.number < self.done * 100 // self.number:
            full = BAR * self.done // self.number
            bar = "#" * full + "." * (BAR - full)
            print(f"\rdecoding {bar} {self.done:,} of {self.number:,} pictures", end="", file=sys.stderr, flush=True)


NOWHERE = SampleCache(None)


def _key(source: dict[str, Any]) -> str:
    """Pillow decodes and resizes; torchvision says to which size."""
    return key_of(
        source | {"pixels": LAYOUT, "decoded by": [metadata.version(name) for name in ("pillow", "torchvision")]}
    )


def _said(name: str, side: int, number: int) -> dict[str, Any]:
    return {"side": side, "data": name, "rows": number}
