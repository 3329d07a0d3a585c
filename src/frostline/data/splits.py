"""Which samples go where. Everything is a function of labels and a seed."""

import torch
from torch import Tensor

from frostline.errors import DataError


def stratified_split(labels: Tensor, fraction: float, seed: int, *, keep: int = 1) -> tuple[Tensor, Tensor]:
    """Indices (rest, part): of each class `fraction` goes to the part, rounded, but at least one,
    and at least `keep` are left.

    Both in ascending order. A class needs two samples; `require_per_class` says so to the user beforehand.
    """
    parts = []
    for members in _members_by_class(labels, seed):
        size = min(max(round(len(members) * fraction), 1), len(members) - keep)
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


def require_per_class(counts: dict[str, int], needed: int, *, where: object, reason: str) -> None:
    """Raises DataError that names the classes with fewer than `needed` samples."""
    short = {name: count for name, count in counts.items() if count < needed}
    if short:
        said = ", ".join(f"'{name}' has {count}" for name, count in sorted(short.items()))
        raise DataError(
            f"too few pictures of a class: {said}; {reason} needs {needed} of each",
            where=where,
            next_step="add pictures, leave those classes out, or give the parts yourself as train/, val/ and test/",
        )


def _members_by_class(labels: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    return [indices[torch.randperm(len(indices), generator=generator)] for indices in members]
