"""Decode samples once, on all cores, and cache them for later runs. Shapes: N samples, uint8."""

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

VERSION = 1  # version of the rows and of decoding; a part of the key, so that a new number invalidates the cache
BAR = 24  # characters
CHUNK = 32  # most pictures that a thread gets at a time: scheduling one small picture costs as much as decoding it

Decode = Callable[[int], Tensor]


class SampleCache:
    """Caches samples in a store. samples: their plural in messages. store: None to write nothing. shows: whether a
    progress bar is shown while decoding. leads: whether this process prints for all ranks."""

    def __init__(
        self, store: Store | None, *, samples: str = "samples", shows: bool = False, leads: bool = True
    ) -> None:
        self.store = store
        self.samples = samples
        self.shows = shows and leads
        self.leads = leads

    def has_room(self, num_bytes: int) -> bool:
        """Whether an empty cache could hold `num_bytes`. Gives up and prints why if it could not."""
        if self.store is not None and num_bytes > self.store.most_of_kind:
            wanted, most = num_bytes / 1e9, self.store.most_of_kind / 1e9
            self.give_up(
                f"decoded {self.samples}",
                OSError(errno.ENOSPC, f"they take about {wanted:,.1f} GB, and the cache has {most:,.1f} GB for them"),
            )
        return self.store is not None

    def uniform(
        self, source: dict[str, Any], shape: tuple[int, ...], number: int, decode: Decode, name: str
    ) -> tuple[Tensor, Entry | None]:
        """Decode pictures of one shape: (N, *shape), mapped from the returned entry, or in memory without one.

        source: what identifies the pixels, for the key. decode: index to picture; its errors are raised. name: of the
        data."""
        if self.store is not None:
            try:
                entry = self.store.entry(_key(source), number, shape, torch.uint8, _about(name, shape[-1], number))
                self._fill(self.store, entry, decode, torch.stack)
                return entry.rows, entry
            except OSError as error:
                self.give_up(f"decoded {self.samples}", error)
        pixels = torch.empty(number, *shape, dtype=torch.uint8)
        with Decoder(number, self.samples, shows=self.shows) as decoder:
            for row, picture in zip(pixels, decoder(decode, range(number)), strict=True):
                row.copy_(picture)
        return pixels, None

    def ragged(
        self, source: dict[str, Any], measure: Decode, number: int, decode: Decode, name: str, side: int | None
    ) -> Entry | None:
        """Decode pictures of several sizes into an entry of ragged rows; None if they cannot be cached.

        measure: index to the length of a row in bytes, a scalar. decode: index to the row. Their errors are raised,
        except OSError. side: in pixels, recorded in the entry; None for sounds. Otherwise as `uniform`."""
        if self.store is None:
            return None

        def lengths() -> Tensor:
            with Decoder(number, self.samples, shows=False) as decoder:
                return torch.stack(list(decoder(measure, range(number))))

        try:
            entry = self.store.ragged(_key(source), lengths, _about(name, side, number))
            self._fill(self.store, entry, decode, torch.cat)
            return entry
        except OSError as error:
            self.give_up(f"decoded {self.samples}", error)
            return None

    def _fill(self, store: Store, entry: Entry, decode: Decode, together: Callable[[list[Tensor]], Tensor]) -> None:
        try:
            with Decoder(entry.layout.number, self.samples, shows=self.shows) as decoder:
                entry.fill(lambda places: together(list(decoder(decode, places))))
        except (FrostlineError, OSError):  # a repaired picture changes the key, so the rest would never be read
            store.discard(entry)
            raise

    def give_up(self, what: str, error: OSError) -> None:
        """Stop caching for this run, and print why. Its samples stay the same."""
        assert self.store is not None
        if self.leads:
            self.store.tell(f"{what} are not cached", error)
        self.store = None


class Decoder:
    """Decodes on all cores, and yields in order. number: of samples in all calls. samples: their plural. shows: whether
    a progress bar on stderr counts them."""

    def __init__(self, number: int, samples: str, *, shows: bool) -> None:
        self.number = number
        self.samples = samples
        self.shows = shows
        self.done = 0
        self._cores = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._cores)  # Pillow releases the GIL while it decodes and resizes

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
            progress = f"{self.done:,} of {self.number:,} {self.samples}"
            print(f"\rdecoding {bar} {progress}", end="", file=sys.stderr, flush=True)


NOWHERE = SampleCache(None)


def _key(source: dict[str, Any]) -> str:
    """Includes the versions of Pillow, which decodes and resizes, and torchvision, which computes the size."""
    return key_of(
        source | {"pixels": VERSION, "decoded by": [metadata.version(name) for name in ("pillow", "torchvision")]}
    )


def _about(name: str, side: int | None, number: int) -> dict[str, Any]:
    return {"side": side, "data": name, "rows": number}
