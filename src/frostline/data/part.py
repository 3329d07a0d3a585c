"""Samples of several parts: each part has inputs of one kind, which several samples may share.

Shapes: N samples, M distinct inputs of a part. An input is named `<part>/<column>`, as the network's towers know it.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.contracts.specs import Spec
from frostline.contracts.tree import Value, moved, part_of
from frostline.data.source import Source
from frostline.data.split import Split
from frostline.data.views import Views
from frostline.errors import DataError

RAW, SIZES, PLACE = "raw", "sizes", "place"  # of an input that no view was made of


class Part:
    """source: the M distinct inputs. views: how they are shown. used: (U,) ascending, the inputs that any split uses.

    trainer: see `Data`; the rest is what frozen outputs are computed of and known by, as of `Data`.
    """

    trainer: L.Trainer | None = None

    def __init__(self, name: str, spec: Spec, source: Source) -> None:
        self.name = name
        self.spec = spec
        self.source = source
        self.views = Views()
        self.used = torch.arange(len(source.labels))

    def of(self, index: Tensor | None) -> Split:
        """The inputs at `index`, in ascending order, as a split; None: those that any split uses."""
        return Split(self.source, self.used if index is None else index.unique())

    def raw(self, place: Tensor, *, whole: bool) -> dict[str, Any]:
        """Load inputs (B,) that no view was made of. whole: see `Source.fetch`."""
        loaded, sizes = self.source.fetch(place, whole=whole)
        return {RAW: loaded, PLACE: place} | ({} if sizes is None else {SIZES: sizes})

    def seen(self, split: Split, places: list[int], view: int | None, device: torch.device) -> Any:
        return seen(split, places, view, device, self.views)

    def targets_of(self, split: Split, chosen: Tensor, view: int | None) -> tuple[Tensor, None]:
        """Inputs of a part have no targets of their own."""
        return split.source.labels[chosen], None


class PartedSource(Source):
    """parts: by name. places: by input `<part>/<column>`, (N,) index of each sample in its part."""

    parts: Mapping[str, Part]
    places: Mapping[str, Tensor]

    @abstractmethod
    def beside(self, index: Tensor) -> dict[str, Value]:
        """Inputs that belong to no part, by name."""

    def raw(self, name: str, index: Tensor, *, whole: bool) -> dict[str, Any]:
        return self.parts[part_of(name)].raw(self.places[name][index], whole=whole)

    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Any, None]:
        """Values by name; those of parts as `Part.raw` returns them."""
        index = torch.as_tensor(index)
        return {name: self.raw(name, index, whole=whole) for name in self.places} | self.beside(index), None

    @property
    def decoded_by(self) -> Sequence[str]:
        return [version for part in self.parts.values() for version in part.source.decoded_by]

    @property
    def in_memory(self) -> bool:
        return all(part.source.in_memory for part in self.parts.values())


class PartedViews(Views):
    """Shows each input by the views of its part. Samples that share an input share its augmented view of an epoch."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = parts

    @property
    def could_augment(self) -> bool:
        return any(part.views.could_augment for part in self.parts.values())

    @property
    def mixes(self) -> bool:
        return any(part.views.mixes for part in self.parts.values())

    def describe(self) -> Sequence[Any]:
        return [[name, *part.views.describe()] for name, part in self.parts.items()]

    def look(self) -> dict[str, Any]:
        return {name: value for part in self.parts.values() for name, value in part.views.look().items()}

    def plain(self, batch: Batch) -> Batch:
        return self._shown(batch, None, alone=False)

    def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
        return self._shown(batch, epoch, alone=alone)

    def _shown(self, batch: Batch, epoch: int | None, *, alone: bool) -> Batch:
        """Inputs of which a view was made stay as they are."""
        shown = {}
        for name, value in batch.inputs.items():
            if not (isinstance(value, Mapping) and RAW in value):
                shown[name] = value
                continue
            views = self.parts[part_of(name)].views
            own = Batch(value[RAW], batch.targets, value[PLACE], value.get(SIZES))
            shown[name] = (views.plain(own) if epoch is None else views.augmented(own, epoch, alone=alone)).inputs
        return batch._replace(inputs=shown)


def seen(split: Split, places: list[int], view: int | None, device: torch.device, views: Views) -> Any:
    """The network's inputs for samples of a split, by their places in it. view: epoch whose augmentation they get; None
    for none. Raises DataError."""
    loaded = Split(split.source, split.index, whole=view is not None, scored=split.scored).__getitems__(places)
    if isinstance(loaded, DataError):
        raise loaded
    sizes = None if loaded.sizes is None else loaded.sizes.to(device)
    inputs, targets = (moved(value, device) for value in (loaded.inputs, loaded.targets))  # maps follow an augmentation
    batch = loaded._replace(inputs=inputs, targets=targets, sample=loaded.sample.to(device), sizes=sizes)
    shown = views.plain(batch) if view is None else views.augmented(batch, view, alone=True)
    return shown.inputs
