"""Rows of a split, and the distinct pictures and texts that they share. Shapes: N rows, B of a batch."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from frostline.contracts.tree import Value, part_of
from frostline.data.part import Part, PartedSource
from frostline.data.rows.columns import Columns, Kinds
from frostline.data.rows.statistics import coded

IMAGE, TEXT = "image", "text"  # parts, as the towers of model=fusion
ROW = "row"  # the input of numbers and names
AT_ONCE = 10_000  # rows that are digested at a time
Cell = TypeVar("Cell", bound=Hashable)


class RowSamples:
    """Rows that a reader found. labels: see `Source`. guessed: columns whose kind is guessed. root: of pictures."""

    def __init__(
        self, columns: Columns, labels: Tensor, kinds: Kinds, *, root: Path, guessed: frozenset[str] = frozenset()
    ) -> None:
        self.columns = columns
        self.labels = labels
        self.kinds = kinds
        self.root = root
        self.guessed = guessed


class RowSource(PartedSource):
    """`fetch` returns, beside the parts, ROW: `numbers`, `flags`, `names` as in `Coded`, and `absent` (B, P) bool,
    which of the P columns of pictures and texts are empty. An empty one is shown as another row's.

    places: see `PartedSource`. absent: (N,) bool by input. Call `code` before `fetch`.
    """

    def __init__(
        self,
        columns: Columns,
        labels: Tensor,
        kinds: Kinds,
        parts: Mapping[str, Part],
        places: Mapping[str, Tensor],
        absent: Mapping[str, Tensor],
    ) -> None:
        self.columns = columns
        self.labels = labels
        self.kinds = kinds
        self.parts = parts
        self.places = places
        self.absent = torch.stack([*absent.values()], 1) if absent else torch.zeros(len(columns), 0, dtype=torch.bool)
        self._rows: dict[str, Tensor] = {}

    def code(self, row: Mapping[str, Any]) -> None:
        """row: see `statistics.coded`."""
        self._rows = {**coded(self.columns, row)._asdict(), "absent": self.absent}

    def beside(self, index: Tensor) -> dict[str, Value]:
        return {ROW: {name: value[index] for name, value in self._rows.items()}}

    @cached_property
    def ids(self) -> dict[str, Tensor]:
        """By id column, (N,) int64: equal if and only if the cells are equal, known to the network or not; empty cells
        are -1."""
        found = {}
        for name in self.kinds.ids:
            cells = self.columns.names[name]
            places = {cell: place for place, cell in enumerate(sorted({*cells} - {""}))}
            found[name] = torch.tensor([places.get(cell, -1) for cell in cells], dtype=torch.int64)
        return found

    def name_of(self, index: int) -> str:
        return self.columns.places.where(index)

    def digests(self, index: Tensor) -> list[bytes]:
        """Digest the cells of all inputs, those of pictures and texts by their content."""
        return [digest for some in index.split(AT_ONCE) for digest in self._digests(some)]

    def _digests(self, index: Tensor) -> list[bytes]:
        cells: list[list[Any]] = [self._digests_of(name, index) for name in self.places]
        cells += [values[index].tolist() for values in self.columns.numbers.values()]
        cells += [[own[it] for it in index.tolist()] for own in self.columns.names.values()]
        cells.append(self.absent[index].tolist())
        return [hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in zip(*cells, strict=True)]

    @property
    def as_found(self) -> str:
        return self._digest({name: part.source.as_found for name, part in self.parts.items()})

    def _digests_of(self, name: str, index: Tensor) -> list[bytes]:
        """Digest an input of a part; b"" for an empty one, in whose place another row's is shown."""
        used, places = self.places[name][index].unique(return_inverse=True)
        own = self.parts[part_of(name)].source.digests(used)
        absent = self.absent[index][:, [*inputs_of(self.kinds)].index(name)].tolist()
        return [b"" if is_absent else own[it] for it, is_absent in zip(places.tolist(), absent, strict=True)]

    def _content(self) -> str:
        return self._digest({name: part.source.content for name, part in self.parts.items()})

    def _digest(self, parts: Mapping[str, str]) -> str:
        """parts: the digest of the distinct inputs of each."""
        digest = hashlib.blake2b(digest_size=16)
        for name, content in parts.items():
            digest.update(f"{name} {content}\n".encode())
        for name, place in self.places.items():
            digest.update(f"{name}\n".encode() + place.numpy().data)
        digest.update(self.absent.numpy().data)
        for name, values in self.columns.numbers.items():
            digest.update(f"{name}\n".encode() + values.contiguous().numpy().data)
        for name, cells in self.columns.names.items():
            digest.update(repr((name, cells)).encode())
        return digest.hexdigest()


class Distinct:
    """Different cells in the order in which they first occur, over all splits."""

    def __init__(self, cells: Sequence[Sequence[Any]]) -> None:
        """cells: of each column and split; None and "" are empty."""
        self.values = [*dict.fromkeys(cell for some in cells for cell in some if cell)]
        self._places = {cell: place for place, cell in enumerate(self.values)}

    def places(self, cells: Sequence[Any]) -> Tensor:
        """(N,) index of each cell; 0 for an empty one."""
        return torch.tensor([self._places.get(cell, 0) for cell in cells], dtype=torch.int64)


def absent_in(cells: Sequence[Any]) -> Tensor:
    return torch.tensor([not cell for cell in cells], dtype=torch.bool)


def inputs_of(kinds: Kinds) -> dict[str, tuple[str, str]]:
    """The part and the column of each input `<part>/<column>`."""
    columns = [*((IMAGE, name) for name in kinds.images), *((TEXT, name) for name in kinds.texts)]
    return {f"{part}/{name}": (part, name) for part, name in columns}
