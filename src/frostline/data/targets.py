"""What a training part says of its targets, and whether anything can be learned from them. Shapes: N samples; classes
(N,) int64, labels and numbers (N, C) float32.
"""

from collections import Counter
from math import fsum, sqrt

from torch import Tensor

from frostline.errors import DataError
from frostline.targets import Kind, Targets

# Of float32, in which targets come: numbers that differ by less from their mean keep two digits of that difference.
LEAST_DEVIATION = 1e-5


def counts_of(kind: Kind, names: list[str], targets: Tensor) -> dict[str, int]:
    """Samples of each class, or with each label; nothing of numbers."""
    if kind == "numbers":
        return {}
    if kind == "labels":
        return dict(zip(names, targets.count_nonzero(0).tolist(), strict=True))
    counted = Counter(targets.tolist())
    return {name: counted[number] for number, name in enumerate(names)}


def targets_of(kind: Kind, names: list[str], targets: Tensor) -> Targets:
    """targets: of the training part. Sums are exact, and so the same on every machine: a resume compares them."""
    counts = list(counts_of(kind, names, targets).values())
    if kind != "numbers":
        return Targets(kind, names, counts, [], [])
    columns = targets.double().T.tolist()
    means = [fsum(column) / len(column) for column in columns]
    variances = [
        fsum((x - mean) ** 2 for x in column) / len(column) for column, mean in zip(columns, means, strict=True)
    ]
    return Targets(kind, names, counts, means, [sqrt(variance) for variance in variances])


def require_learnable(targets: Targets, samples: int, where: object) -> None:
    """samples: of the training part. Raises DataError that names labels which all of them have, or numbers that are
    the same everywhere."""
    if targets.kind == "labels":
        always = [name for name, count in zip(targets.names, targets.counts, strict=True) if count == samples]
        if always:
            raise DataError(
                f"every training sample has the label '{always[0]}', so that there is nothing to learn about it",
                where=where,
                next_step="leave that label out, or add samples without it",
            )
    for name, mean, std in zip(targets.names, targets.mean, targets.std, strict=False):
        if std <= LEAST_DEVIATION * abs(mean):
            raise DataError(
                f"the numbers of '{name}' are the same for every training sample, or nearly: {mean:g} ± {std:g}",
                where=where,
                next_step="leave that column out, or subtract what its numbers have in common",
            )
