"""Any number of labels for each sample. Targets: (N, C) float32, 0 or 1."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.tables.columns import labels_of
from frostline.data.tables.table import Table
from frostline.data.target_types.base import TargetType, require_differences


class Labels(TargetType):
    kind = "labels"
    described_as = "any number of labels for each sample"
    plural = "labels"
    task = "multi_label"
    cells_hold_lists = True

    def columns_problem(self, columns: Sequence[str], separator: str | None) -> str:
        if separator is not None and (len(columns) > 1 or not separator):
            return "data.separator separates labels within one column, and is not empty"
        return ""

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        separator: str | None,
        training: Sequence[int],
        known: list[str] | None = None,
        class_names: list[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        return labels_of(table, columns, separator, training, known)

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        return dict(zip(names, targets.count_nonzero(0).tolist(), strict=True))

    def strata(self, targets: Tensor) -> Tensor:
        return rarest(targets == 1)

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Raises DataError that names a label which every sample has."""
        step = "leave that label out, or add samples without it"
        require_differences(targets, samples, "sample", step, where, name="label")

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor, num_classes: int) -> Tensor:
        return share * targets + (1 - share) * partners


def rarest(has: Tensor) -> Tensor:
    """(N, C) bool, which names each sample has → (N,) index of its rarest name, C for a sample without any.

    Splits by these strata divide rare labels like classes, and frequent labels on average.
    """
    frequency = torch.where(has, has.sum(0), torch.inf)
    return torch.where(has.any(1), frequency.argmin(1), has.shape[1])
