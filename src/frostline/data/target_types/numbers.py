"""Numbers for each sample. Targets: (N, C) float32, a column for each name."""

from collections.abc import Sequence
from math import fsum, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.tables.columns import numbers_of
from frostline.data.tables.table import Table
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, DataError, shortened

# Least standard deviation relative to the mean. float32 targets that differ by less from their mean have only two
# significant digits of that difference.
LEAST_DEVIATION = 1e-5
SHOWN = 3  # columns listed in a message
STRATA = 10  # most strata
STRATUM = 20  # fewest samples of a stratum: in smaller ones, "at least one" would exceed the requested fraction


class Numbers(TargetType):
    """about: `mean` and `std` of each column over the training split, in its unit."""

    kind = "numbers"
    described_as = "numbers for each sample"
    plural = "numbers"
    task = "regression"
    about: ClassVar[dict[str, str]] = {"mean": "list[float]", "std": "list[float]"}
    has_classes = False

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        separator: str | None,
        training: Sequence[int],
        known: list[str] | None = None,
        class_names: list[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        return numbers_of(table, columns)

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        return {}

    def strata(self, targets: Tensor) -> Tensor:
        """Quantiles of the mean over standardised columns, so that all splits have the same range."""
        exact = targets.double()
        deviation = exact.std(0, correction=0)
        places = ((exact - exact.mean(0)) / torch.where(deviation > 0, deviation, 1.0)).mean(1).argsort(stable=True)
        strata = torch.empty(len(targets), dtype=torch.int64)
        number = min(STRATA, max(1, len(targets) // STRATUM))
        strata[places] = torch.arange(len(targets)) * number // len(targets)
        return strata

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """Uses exact sums (fsum), which are equal on every machine and in any order."""
        columns = targets.double().T.tolist()
        means = [fsum(column) / len(column) for column in columns]
        variances = [
            fsum((x - mean) ** 2 for x in column) / len(column) for column, mean in zip(columns, means, strict=True)
        ]
        return Targets(self.kind, names, [], {"mean": means, "std": [sqrt(variance) for variance in variances]})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """`'price' 3.25 ± 0.5`: mean and standard deviation of the first columns."""
        columns = _columns(targets)
        shown = [f"'{name}' {mean:.4g} ± {std:.4g}" for name, mean, std in columns[:SHOWN]]
        return ", ".join([*shown, *(["..."] if len(columns) > SHOWN else [])])

    def ranked(self, targets: Targets, labels: Tensor, relevant: float | str | None) -> dict[str, float] | None:
        if len(targets.names) > 1:
            return None
        if isinstance(relevant, str):
            raise ConfigError(
                f"samples are relevant from a number on, and '{shortened(relevant)}' is none",
                where="data.relevant",
                next_step=f"data.relevant={targets.about['mean'][0]:.3g}; or data.relevant=null",
            )
        return {
            "least": float(labels.min()),
            "relevant": float(targets.about["mean"][0] if relevant is None else relevant),
        }

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Raises DataError that names a column whose numbers are all equal, or nearly so."""
        for name, mean, std in _columns(targets):
            if std <= LEAST_DEVIATION * abs(mean):
                raise DataError(
                    f"the numbers of '{name}' are the same for every training sample, or nearly: {mean:g} ± {std:g}",
                    where=where,
                    next_step="leave that column out, or subtract a constant from its numbers",
                )

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor, num_classes: int) -> Tensor:
        return share * targets + (1 - share) * partners


def _columns(targets: Targets) -> list[tuple[str, float, float]]:
    """Name, mean and standard deviation of each column."""
    return list(zip(targets.names, targets.about["mean"], targets.about["std"], strict=True))
