"""An identity for each sample: a person, a product, a place. Targets: (N,) int64, indices of names, those of training
first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.tables.columns import open_classes_of
from frostline.data.tables.table import Table
from frostline.data.target_types.classes import Classes
from frostline.data.target_types.names import alike_notes
from frostline.errors import DataError, counted, few, shortened

SHOWN = 5  # names listed in a note


class Identities(Classes):
    """Read like classes. `Targets.names` are those of training; a split may have others."""

    kind = "identities"
    described_as = "an identity for each sample"
    plural = "identities"
    task = "retrieval"
    data = "data=image_folder, data=image_csv or data=text_csv"
    has_classes = False
    mixes = False
    takes_class_names = False
    divides_names = True
    rows_from = None

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        separator: str | None,
        training: Sequence[int],
        known: list[str] | None = None,
        class_names: list[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        (column,) = columns
        return open_classes_of(table, column, training, known)

    def settled(self, names: list[str], splits: Mapping[str, Any]) -> list[str]:
        """Those of training first, each side in its former order; the sources are renumbered."""
        trained = torch.zeros(len(names), dtype=torch.bool)
        trained[splits["train"].labels] = True
        order = (~trained).int().argsort(stable=True)
        place = order.argsort()
        for source in {id(split.source): split.source for split in splits.values()}.values():
            source.labels = place[source.labels]
        return [names[old] for old in order.tolist()]

    def examine(self, splits: Mapping[str, Any], names: list[str], where: object) -> list[str]:
        """Tell which identities cannot be queried, and which are on two sides. Raises DataError if no sample can be
        queried, or all are of one identity."""
        of_each = {name: split.labels.bincount(minlength=len(names)) for name, split in splits.items()}
        notes = []
        for name, counts in of_each.items():
            if name == "train":
                continue
            self._require_scored(name, counts, where)
            alone = (counts == 1).nonzero().flatten().tolist()
            if alone:
                has = counted(len(alone), "identity has", "identities have")
                notes.append(f"{has} one sample in {name}, which is searched but not queried")
            both = ((counts > 0) & (of_each["train"] > 0)).nonzero().flatten().tolist() if "train" in of_each else []
            if both:
                shared = few([shortened(names[place]) for place in both], SHOWN)
                notes.append(f"{counted(len(both), 'identity', 'identities')} of {name} also in train: {shared}")
        return notes

    def _require_scored(self, split: str, counts: Tensor, where: object) -> None:
        problem = ""
        if int((counts > 0).sum()) < 2:
            problem = f"all samples of the {split} split are of one identity, so that nothing can be confused"
        elif int(counts.max()) < 2:
            problem = f"no identity of the {split} split has two samples, so that none can be found again"
        if problem:
            raise DataError(
                problem,
                where=where,
                next_step="add samples of other identities, two for each; or give the splits yourself",
            )

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        """Empty: splits need not have samples of the same identities."""
        return {}

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        found = targets.bincount(minlength=len(names)).tolist()
        trained = [(name, count) for name, count in zip(names, found, strict=True) if count]
        return Targets(self.kind, [name for name, _ in trained], [count for _, count in trained], {})

    def notes(self, targets: Targets) -> list[str]:
        return alike_notes(targets.names, self.plural)

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Raises DataError if there is only one identity."""
        if len(targets.names) < 2:
            raise DataError(
                f"all training samples are of one identity, '{shortened(targets.names[0])}'",
                where=where,
                next_step="add samples of other identities",
            )
