"""Compute outputs of frozen blocks, cache them, and serve them in place of pictures and texts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from frostline.contracts.batch import Batch
from frostline.contracts.tokens import Tokens, padded, rows_at
from frostline.contracts.tree import moved
from frostline.data.loader import Share
from frostline.data.module import Data
from frostline.data.split import Split
from frostline.frozen.blocks import FrozenPass, Output, from_rows, to_rows
from frostline.frozen.key import machine, prefix_digests
from frostline.frozen.policy import Choice
from frostline.storage.entry import Entry
from frostline.storage.key import key_of
from frostline.storage.store import Store


class Leaf(NamedTuple):
    """Cached outputs of one block. entries: one per view, in turn from the phase's first epoch."""

    block: str
    output: Output
    entries: Sequence[Entry]


class StoredSplit(Dataset[Batch]):
    """A split after the first `passed` blocks: the outputs that the rest of the network needs (`Backbone.held_at`).

    Texts are stored by length, so that those of one chunk lie side by side.
    """

    def __init__(
        self,
        split: Split,
        leaves: Sequence[Leaf],
        views: Sequence[int | None],
        passed: int,
        *,
        data: Data,
        first_epoch: int,
        named: bool,
    ) -> None:
        self.split = split
        self.data = data
        self.leaves = leaves
        self.views = views
        self.named = named
        self.passed = passed
        self.first_epoch = first_epoch
        order = split.by_length
        self._rows = None if order is None else order.argsort()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, place: int) -> Batch:
        return self.__getitems__([place])

    def __getitems__(self, places: list[int]) -> Batch:
        index = torch.tensor(places)
        share = places if isinstance(places, Share) else Share(places)
        rows, turn = index if self._rows is None else self._rows[index], share.epoch - self.first_epoch
        turn %= len(self.views)
        given = {leaf.block: inputs_of(leaf.entries[turn], rows, leaf.output) for leaf in self.leaves}
        inputs: Any = given if self.named else given[self.leaves[-1].block]
        chosen = self.split.index[index]
        targets, own_sizes = self.data.targets_of(self.split, chosen, self.views[turn])
        user = self.split.source.users_of(chosen)
        return Batch(inputs, targets, chosen, None, share.weight, self.passed, own_sizes, user)


def inputs_of(entry: Entry, rows: Tensor, output: Output) -> Tensor | Tokens:
    if output.tokens is None:
        return from_rows(entry.rows[rows], output)
    assert entry.starts is not None
    return padded(rows_at(entry.flat, entry.starts, rows, output.row))


class Features(NamedTuple):
    """rows: (N, D). folder: of their cache entry; None if they are not cached."""

    rows: Tensor
    folder: Path | None


class FrozenOutputs:
    """Serve one phase after the other; `counts` start anew in each. outputs: of the first 0, 1, ... all blocks, for one
    sample. compiled: whether the blocks themselves are compiled, not only copies."""

    def __init__(
        self, frozen_pass: FrozenPass, data: Data, store: Store, outputs: Sequence[Output], *, compiled: bool
    ) -> None:
        self.frozen_pass = frozen_pass
        self.backbone = frozen_pass.backbone
        self.data = data
        self.store = store
        self.outputs = outputs
        self.compiled = compiled
        self._entries: dict[str, Entry] = {}
        self._digests: list[str] | None = None
        self._machine: list[Any] = []  # as of the digests
        self._told = False
        self.begin(None, [], 0)

    def begin(self, choice: Choice | None, lines: list[int], first_epoch: int) -> None:
        """Start a phase. choice: None caches nothing. lines: frost lines to cache on the way."""
        self._choice = choice if choice is not None and choice.kept else None
        self._lines = sorted({number for line in lines for number in self.backbone.held_at(line)})
        self._first_epoch = first_epoch
        self._digests = None
        self._entries = {}
        self.at_work = False
        self.counts = {"found": 0, "made": 0, "bytes": 0, "seconds": 0.0}

    def __call__(self, split: Split, views: Sequence[int | None]) -> StoredSplit | None:
        """The split after the frozen blocks, from the cache; None if nothing can or shall be cached, so that each epoch
        computes it. views: epochs whose augmentation is applied; None: no augmentation."""
        if self._choice is None:
            return None
        line = self._choice.line
        try:
            leaves = [
                Leaf(list(self.backbone.blocks)[number - 1], self.outputs[number], self._of_views(split, number, views))
                for number in self.backbone.held_at(line)
            ]
        except OSError as error:  # from the cache folder: an unreadable picture raises DataError
            if self._lines != (held := self.backbone.held_at(line)):
                self._lines, self._entries = held, {}  # there may be room without the outputs for later phases
                return self(split, views)
            self._give_up(error)
            return None
        self.at_work = True
        named = bool(self.backbone.levels)
        return StoredSplit(split, leaves, views, line, data=self.data, first_epoch=self._first_epoch, named=named)

    def _of_views(self, split: Split, line: int, views: Sequence[int | None]) -> list[Entry]:
        return [self._entry(split, line, view) for view in views]

    @property
    def keeps_features(self) -> bool:
        """Whether this phase caches the outputs of all blocks, without augmentation."""
        choice = self._choice
        return choice is not None and choice.line == len(self.backbone.blocks) and choice.views == 0

    def features(self, split: Split) -> Features:
        """Outputs of all blocks for a split, without augmentation; computed if they cannot be cached."""
        order = split.by_length
        places = slice(None) if order is None else order.argsort()
        if self.keeps_features and (kept := self(split, [None])) is not None:
            return Features(kept.leaves[0].entries[0].rows[places], kept.leaves[0].entries[0].folder)
        rows = self._made(split, None, None, 0, len(self.backbone.blocks), list(range(len(split))))
        return Features(rows[places], None)

    def features_of(self, split: Split, places: list[int], device: torch.device) -> Batch:
        """Outputs of all blocks for the samples at indices `places`, without augmentation."""
        kept = self(split, [None]) if self.keeps_features else None
        if kept is not None:
            batch = kept.__getitems__(places)
            return batch._replace(inputs=moved(batch.inputs, device), targets=moved(batch.targets, device))
        stop, chosen = len(self.backbone.blocks), split.index[places]
        assert self.data.trainer is not None
        with self.data.trainer.precision_plugin.forward_context():
            inputs = self.frozen_pass.through(self.data.seen(split, places, None, device), 0, stop)
        user = split.source.users_of(chosen)
        return Batch(inputs, moved(split.targets(chosen)[0], device), chosen, passed=stop, user=user)

    def folder_of(self, split: Split) -> Path | None:
        """The folder of the cache entry that `features_of` reads; None if it computes them."""
        kept = self(split, [None]) if self.keeps_features else None
        return None if kept is None else kept.leaves[0].entries[0].folder

    def _give_up(self, error: OSError) -> None:
        """Stop caching in this phase. The result stays the same."""
        self._choice = None
        self._entries = {}
        if self._told:
            return
        self._told = True
        self.store.tell("outputs of frozen blocks are not cached and are computed in each epoch", error)

    def _entry(self, split: Split, line: int, view: int | None) -> Entry:
        begun = time.perf_counter()
        below = [number for number in self._lines if number < line] if view is None else []
        wanted = [n for n in (*below, line) if n == line or not self.store.has(self._described(split, n, view)[0])]
        there = self.store.has(self._described(split, line, view)[0])
        source, start = (None, 0) if there else self._source(split, wanted[0], view)
        for number in wanted:
            made = partial(self._made, split, view, source, start, number)
            source, start = self._filled(split, number, view, made), number
        assert source is not None
        self.counts["seconds"] += time.perf_counter() - begun
        return source

    def _filled(self, split: Split, line: int, view: int | None, make: Callable[[list[int]], Tensor]) -> Entry:
        key, about = self._described(split, line, view)
        if key in self._entries:
            return self._entries[key]
        entry = self._opened(split, line, key, about)
        filled = entry.fill(make)
        self.counts["found"] += filled.found
        self.counts["made"] += filled.made
        self.counts["bytes"] += entry.num_bytes
        self._entries[key] = entry
        return entry

    def _source(self, split: Split, line: int, view: int | None) -> tuple[Entry | None, int]:
        """The highest cached outputs below `line`, and their number of blocks; None and 0 stand for the samples."""
        for number in range(line - 1, 0, -1):
            key, about = self._described(split, number, view)
            if self.store.has(key):
                entry = self._opened(split, number, key, about)
                entry.fill(partial(self._made, split, view, None, 0, number))
                return entry, number
        return None, 0

    def _opened(self, split: Split, line: int, key: str, about: dict[str, Any]) -> Entry:
        output, order = self.outputs[line], split.by_length
        if output.tokens is None:
            return self.store.entry(key, len(split), output.row, output.dtype, about)
        assert split.lengths is not None
        tokens = self.backbone.spec.tokens_of(split.lengths[order]) if line else split.lengths[order]
        lengths = tokens * torch.Size(output.row).numel()
        return self.store.ragged(key, lambda: lengths, about, output.dtype)

    def _made(
        self, split: Split, view: int | None, source: Entry | None, start: int, line: int, rows: list[int]
    ) -> Tensor:
        trainer = self.data.trainer
        assert trainer is not None
        device, made = trainer.strategy.root_device, []
        size, order = self.frozen_pass.chunk(device), split.by_length
        with trainer.precision_plugin.forward_context():
            for at in range(0, len(rows), size):  # only one chunk's activations at a time
                chunk = rows[at : at + size]
                if source is None:
                    places = chunk if order is None else order[chunk].tolist()
                    inputs = self.data.seen(split, places, view, device)
                else:
                    inputs = moved(inputs_of(source, torch.tensor(chunk), self.outputs[start]), device)
                made.append(to_rows(self.frozen_pass(inputs, start, line), self.outputs[line]).cpu())
        return torch.cat(made)

    def _described(self, split: Split, line: int, view: int | None) -> tuple[str, dict[str, Any]]:
        """The key of an entry, and its description."""
        trainer = self.data.trainer
        assert trainer is not None
        device = trainer.strategy.root_device
        if self._digests is None:
            self._digests, self._machine = prefix_digests(self.backbone), machine(device)
        key = key_of(
            {
                "weights": self._digests[line],
                "data": split.digest,
                "spec": asdict(self.data.spec),
                "view": None if view is None else [*self.data.views.describe(), "alone", view],
                "precision": str(trainer.precision),
                "machine": self._machine,
                "chunks": self.frozen_pass.filling(device),
                "compiled": [self.compiled and self.frozen_pass.low is None, self.frozen_pass.compiles],
            }
        )
        blocks = list(self.backbone.blocks)[:line]
        return key, {"model": self.backbone.name, "blocks": blocks, "data": self.data.name, "rows": len(split)}
