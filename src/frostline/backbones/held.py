"""Hold what one process would read or compute again, as the runs of a sweep do: weights and their digests."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from frostline.memory import SHARE, Stamp, free_memory, stamp_of

MOST = 8  # backbones: towers of one network, models of one search


class Read(NamedTuple):
    """The weights file that was read last. content: None until it is read again, so that a single run holds nothing."""

    path: Path
    stamp: Stamp
    content: Any


class Block(NamedTuple):
    """A block whose digest is known. weights: copies on the CPU; None until a second backbone of the same structure
    asks, so that a single run holds nothing. digest: a hash of all blocks up to and including this one."""

    weights: list[Tensor] | None
    digest: Any


class Held:
    """blocks: those with which the last backbone of a structure began. seen: backbones that have asked."""

    file: Read | None = None
    blocks: ClassVar[dict[str, list[Block]]] = {}
    seen: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()


def forget() -> None:
    """Free everything that is held."""
    Held.file = None
    Held.blocks.clear()
    Held.seen.clear()


def read_held(path: Path, read: Callable[[Path], Any]) -> Any:
    """Return `read(path)`. From the third time on it is held, unless the file has changed. Callers copy the tensors and
    never modify them in place."""
    path, before, last = path.absolute(), stamp_of(path), Held.file
    again = last is not None and last[:2] == (path, before)
    if again and last is not None and last.content is not None:
        return last.content
    content = read(path)
    fits = again and before == stamp_of(path) and path.stat().st_size < SHARE * free_memory()
    Held.file = Read(path, before, content if fits else None)
    return content


def hold_blocks(structure: str, blocks: list[Block]) -> None:
    """Hold the blocks of one backbone more. The structure that was asked for longest ago makes room."""
    Held.blocks.pop(structure, None)
    Held.blocks[structure] = blocks
    for key in [*Held.blocks][:-MOST]:
        del Held.blocks[key]


def num_bytes_held() -> int:
    blocks = [block for own in Held.blocks.values() for block in own]
    return sum(tensor.nbytes for block in blocks for tensor in block.weights or ())
