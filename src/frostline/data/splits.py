"""Which samples go where. Everything is a function of targets and a seed. Shapes: labels (N,), which are
classes, or the strata of other targets (`TargetType.strata`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frostline.config.ranges import Fraction, Positive, Seed
from frostline.errors import DataError, few, shortened
from frostline.quoting import list_of


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of all data: batches, limits and splits. They are explained in conf/data/_base.yaml."""

    batch_size: Positive[int] | Literal["auto"] | None
    train_limit: Positive[int] | None
    val_fraction: Fraction
    test_fraction: Fraction
    split_seed: Seed
    seed: Seed


def stratified_split(labels: Tensor, fraction: float, seed: int, *, keep: int = 1) -> tuple[Tensor, Tensor]:
    """Indices (rest, part): of each class `fraction` goes to the part, rounded, but at least one,
    and at least `keep` are left.

    Both in ascending order. A class needs two samples; `require_per_class` says so to the user beforehand.
    """
    parts = []
    for members in _members_by_class(labels, seed):
        size = max(min(max(round(len(members) * fraction), 1), len(members) - keep), 0)
        parts.append(members[:size])
    part = torch.cat(parts).sort().values
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[part] = False
    return rest.nonzero().flatten(), part


def balanced_subset(labels: Tensor, limit: int, seed: int) -> Tensor:
    """Indices of `limit` samples, as many of each class as there are to have, in ascending order."""
    if limit >= len(labels):
        return torch.arange(len(labels))
    queues = _members_by_class(labels, seed)
    turns = torch.cat([torch.arange(len(members)) for members in queues])
    order = turns.argsort(stable=True)  # everyone's first, then everyone's second, ...
    return torch.cat(queues)[order][:limit].sort().values


def require_per_class(
    counts: dict[str, int], needed: int, *, where: object, reason: str, setting: str | None = None, divides: str = ""
) -> None:
    """setting: that names the classes to use, if there is one. divides: what tells the parts, where a user can. Raises
    DataError that names the classes with fewer than `needed` samples."""
    short = {name: count for name, count in counts.items() if count < needed}
    if short:
        enough = [name for name in counts if name not in short]
        named = f"leave those classes out: {list_of(setting, enough)}" if setting and len(enough) > 1 else ""
        said = few([f"'{shortened(name)}' has {count}" for name, count in sorted(short.items())])
        or_divide = f", or give the splits yourself ({divides})" if divides else ""
        raise DataError(
            f"too few samples of a class: {said}; {reason} needs {needed} of each",
            where=where,
            next_step=f"add samples, {named or 'leave those classes out'}{or_divide}",
        )


def _members_by_class(labels: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    return [indices[torch.randperm(len(indices), generator=generator)] for indices in members]
