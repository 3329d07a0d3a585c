"""Seeded, stratified splits and subsets. Shapes: labels (N,) are classes, or the strata of other targets
(`TargetType.strata`).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frostline.config.ranges import Fraction, NonNegative, Positive, Seed
from frostline.errors import DataError, few, shortened
from frostline.quoting import list_of


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings that all data shares: batches, limits and splits. conf/data/_base.yaml explains them."""

    batch_size: Positive[int] | Literal["auto"] | None
    per_identity: Positive[int] | Literal["auto"] | None
    train_limit: Positive[int] | None
    val_fraction: Fraction
    test_fraction: Fraction
    folds: Positive[int] | None
    fold: NonNegative[int]
    split_seed: Seed
    seed: Seed


def stratified_split(labels: Tensor, fraction: float, seed: int, *, keep: int = 1) -> tuple[Tensor, Tensor]:
    """Return indices (rest, split), each in ascending order. The split gets `fraction` of each class, rounded, but at
    least one sample; at least `keep` samples stay in the rest.

    Call `require_per_class` first: with fewer than 1 + `keep` samples of a class, the split gets none of it.
    """
    splits = []
    for members in _members_by_class(labels, seed):
        size = max(min(max(round(len(members) * fraction), 1), len(members) - keep), 0)
        splits.append(members[:size])
    split = torch.cat(splits).sort().values
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[split] = False
    return rest.nonzero().flatten(), split


def balanced_subset(labels: Tensor, limit: int, seed: int) -> Tensor:
    """Indices of `limit` samples in ascending order, equally many of each class as far as it has enough."""
    if limit >= len(labels):
        return torch.arange(len(labels))
    queues = _members_by_class(labels, seed)
    turns = torch.cat([torch.arange(len(members)) for members in queues])
    order = turns.argsort(stable=True)  # the first of each class, then the second of each class, ...
    return torch.cat(queues)[order][:limit].sort().values


def require_per_class(
    counts: dict[str, int], needed: int, *, where: object, reason: str, setting: str | None = None, divides: str = ""
) -> None:
    """Raises DataError that names the classes with fewer than `needed` samples. setting: selects classes, if there is
    such a setting. divides: see `Reader.divides`."""
    short = {name: count for name, count in counts.items() if count < needed}
    if short:
        enough = [name for name in counts if name not in short]
        named = f"leave those classes out: {list_of(setting, enough)}" if setting and len(enough) > 1 else ""
        lacking = few([f"'{shortened(name)}' has {count}" for name, count in sorted(short.items())])
        or_divide = f", or give the splits yourself ({divides})" if divides else ""
        raise DataError(
            f"too few samples of a class: {lacking}; {reason} needs {needed} of each",
            where=where,
            next_step=f"add samples, {named or 'leave those classes out'}{or_divide}",
        )


def _members_by_class(labels: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    return [indices[torch.randperm(len(indices), generator=generator)] for indices in members]
