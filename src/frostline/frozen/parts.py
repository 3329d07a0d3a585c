"""Cache outputs of frozen blocks for samples of several parts: each part has entries of its own, one row per distinct
input, under the keys that its network has alone. Shapes: B samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from frostline.backbones.towers import Towers
from frostline.contracts.batch import Batch
from frostline.contracts.tree import part_of
from frostline.data.loader import Share
from frostline.data.module import Data
from frostline.data.part import PartedSource
from frostline.data.split import Split
from frostline.frozen.blocks import FrozenPass, Output
from frostline.frozen.outputs import Features, FrozenOutputs, StoredSplit
from frostline.frozen.policy import Choice
from frostline.storage.store import Store


class Served(NamedTuple):
    """A part after its frozen blocks. inputs: (U,) ascending, their indices in the order of `split`'s places."""

    split: StoredSplit
    inputs: Tensor

    def at(self, place: Tensor, share: Share) -> Any:
        """Outputs for inputs (B,) of the part, of the view whose turn it is in the epoch of `share`."""
        rows = Share(torch.searchsorted(self.inputs, place).tolist())
        rows.epoch = share.epoch
        return self.split.__getitems__(rows).inputs


class StoredParts(Dataset[Batch]):
    """A split after the first `passed` blocks of all towers. served: the parts that have passed some; inputs of the
    others are loaded."""

    def __init__(
        self,
        split: Split,
        served: Mapping[str, Served],
        views: Sequence[int | None],
        passed: int,
        *,
        data: Data,
        first_epoch: int,
    ) -> None:
        self.split = split
        self.served = served
        self.views = views
        self.passed = passed
        self.data = data
        self.first_epoch = first_epoch

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, place: int) -> Batch:
        return self.__getitems__([place])

    def __getitems__(self, places: list[int]) -> Batch:
        share = places if isinstance(places, Share) else Share(places)
        view = self.views[(share.epoch - self.first_epoch) % len(self.views)]
        source, chosen = self.split.source, self.split.index[torch.tensor(places)]
        assert isinstance(source, PartedSource)
        inputs = source.beside(chosen)
        for name, place in source.places.items():
            served = self.served.get(part_of(name))
            inputs[name] = (
                served.at(place[chosen], share)
                if served is not None
                else source.raw(name, chosen, whole=view is not None)
            )
        targets, own_sizes = self.data.targets_of(self.split, chosen, view)
        return Batch(inputs, targets, chosen, None, share.weight, self.passed, own_sizes, source.users_of(chosen))


class PartedOutputs(FrozenOutputs):
    """`FrozenOutputs` of each part. A part whose tower has no frozen block is served unchanged."""

    def __init__(
        self, frozen_pass: FrozenPass, data: Data, store: Store, outputs: Sequence[Output], *, compiled: bool
    ) -> None:
        backbone = frozen_pass.backbone
        assert isinstance(backbone, Towers)
        self.towers = backbone
        self.of_data = data
        self.own: dict[str, FrozenOutputs] = {}
        for part, work in frozen_pass.parts.items():
            places = [backbone.place(part, number) for number in range(len(work.backbone.blocks) + 1)]
            of_part = [outputs[place] for place in places]
            own: Any = data.modality.parts[part]  # has what frozen outputs need of `Data`
            self.own[part] = FrozenOutputs(work, own, store, of_part, compiled=compiled)
        super().__init__(frozen_pass, data, store, outputs, compiled=compiled)

    def begin(self, choice: Choice | None, lines: list[int], first_epoch: int) -> None:
        super().begin(choice, lines, first_epoch)
        for part, own in self.own.items():
            below = [self.towers.passed(part, line) for line in lines]
            line = 0 if choice is None else self.towers.passed(part, choice.line)
            own_choice = choice._replace(line=line) if choice is not None and line else None
            own.begin(own_choice, [number for number in below if number], first_epoch)

    def __call__(self, split: Split, views: Sequence[int | None]) -> StoredParts | None:  # type: ignore[override]
        if self._choice is None:
            return None
        served = {}
        for part, own in self.own.items():
            if not self.towers.passed(part, self._choice.line):
                continue
            found = self._served(part, own, split, views)
            if found is None:
                self._choice = None
                return None
            served[part] = found
        self.counts = {key: sum(own.counts[key] for own in self.own.values()) for key in self.counts}
        self.at_work = True
        line = self._choice.line
        return StoredParts(split, served, views, line, data=self.of_data, first_epoch=self._first_epoch)

    def _served(self, part: str, own: FrozenOutputs, split: Split, views: Sequence[int | None]) -> Served | None:
        """Without augmentation, one entry has the inputs of all splits; views are those of this split."""
        data, source = self.of_data.modality.parts[part], split.source
        assert isinstance(source, PartedSource)
        data.trainer = self.of_data.trainer
        shown: Sequence[int | None] = views if data.views.could_augment else [None]
        places = [place[split.index] for name, place in source.places.items() if part_of(name) == part]
        distinct = data.of(None if list(shown) == [None] else torch.cat(places))
        found = own(distinct, shown)
        return None if found is None else Served(found, distinct.index)

    def features_by_input(self, split: Split) -> dict[str, Tensor]:
        """(N, D) outputs of a tower for each of its inputs, without augmentation, by name; computed if they are not
        cached."""
        found, source = {}, split.source
        assert isinstance(source, PartedSource)
        for part, own in self.own.items():
            data = self.of_data.modality.parts[part]
            data.trainer = self.of_data.trainer
            distinct = data.of(None)
            rows = own.features(distinct).rows
            for name, place in source.places.items():
                if part_of(name) == part:
                    found[name] = rows[torch.searchsorted(distinct.index, place[split.index])]
        return found

    def features(self, split: Split) -> Features:
        """The vectors of all inputs side by side."""
        return Features(torch.cat([*self.features_by_input(split).values()], 1), None)


def frozen_outputs(
    frozen_pass: FrozenPass, data: Data, store: Store, outputs: Sequence[Output], *, compiled: bool
) -> FrozenOutputs:
    """Serve outputs of the frozen blocks of any backbone. See `FrozenOutputs`."""
    kind = PartedOutputs if isinstance(frozen_pass.backbone, Towers) else FrozenOutputs
    return kind(frozen_pass, data, store, outputs, compiled=compiled)
