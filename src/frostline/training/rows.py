"""Rows of features with one name each, on which probes are fitted and scored. Shapes: R rows, D features."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from frostline.contracts.seeds import seed_of
from frostline.data.split import Split
from frostline.frozen.outputs import FrozenOutputs

# Most rows of training and of validation where a sample has several. k-NN then takes 4 TFLOP at 1,280 features, the
# others less. Rows of one sample resemble each other, so that more of them tell little.
MOST = (80_000, 20_000)
SAMPLES = 64  # in memory at a time, or a whole chunk of the frozen pass


class Labelled(NamedTuple):
    """features (R, D), labels (R,). found: rows of which these R were drawn. sample: (R,) place in the split of each
    row's sample; None if the samples are the rows. folder: of the features' cache entry; None if they are not cached.
    """

    features: Tensor
    labels: Tensor
    found: int
    sample: Tensor | None = None
    folder: Path | None = None


def labelled(frozen: FrozenOutputs) -> tuple[Labelled, Labelled]:
    """Rows of the training and the validation split, as the data's target type gives them. More than MOST are thinned
    out by the seed of the data."""
    data = frozen.data
    train, val = data.train_split, data.val_split
    if data.target.rows_are:
        return _of_samples(frozen, train, MOST[0]), _of_samples(frozen, val, MOST[1])
    features = frozen.features(train), frozen.features(val)
    of_train, of_val = (
        Labelled(own.rows, split.labels, len(split), folder=own.folder)
        for own, split in zip(features, (train, val), strict=True)
    )
    return of_train, of_val


def _of_samples(frozen: FrozenOutputs, split: Split, most: int) -> Labelled:
    data = frozen.data
    assert data.trainer is not None
    device = data.trainer.strategy.root_device
    split = Split(split.source, split.index)  # not scored: its targets have the size that the network sees
    order = torch.arange(len(split)) if split.by_length is None else split.by_length
    drawn = _Drawn(most, seed_of(data.seed, "rows", len(split)))
    for places in order.split(max(SAMPLES, frozen.frozen_pass.chunk(device))):
        batch = frozen.features_of(split, places.tolist(), device)
        rows = data.target.rows(batch.inputs, batch.targets)
        drawn.add(rows.features, rows.names, places.to(device)[rows.sample])
    features, labels, sample = drawn.columns()
    return Labelled(features, labels, drawn.found, sample, frozen.folder_of(split))


class _Drawn:
    """At most `most` of the rows that are added, in their order: those with the smallest random keys."""

    def __init__(self, most: int, seed: int) -> None:
        self.most = most
        self.found = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._held: list[tuple[Tensor, ...]] = []

    def add(self, *columns: Tensor) -> None:
        number = len(columns[0])
        self.found += number
        keys = torch.rand(number, dtype=torch.float64, generator=self._generator)
        self._held.append((keys, *columns))
        if sum(len(held[0]) for held in self._held) > 5 * self.most // 4:
            self._thin_out()

    def columns(self) -> tuple[Tensor, ...]:
        self._thin_out()
        return self._held[0][1:]

    def _thin_out(self) -> None:
        keys, *columns = (torch.cat(column) for column in zip(*self._held, strict=True))
        if len(keys) > self.most:
            chosen = keys.topk(self.most, largest=False).indices.sort().values
            keys, columns = keys[chosen], [column[chosen.to(column.device)] for column in columns]
        self._held = [(keys, *columns)]
