"""Which samples go where. Everything is a function of targets and a seed. Shapes: N samples, C labels, numbers or tags,
W words.
"""

import torch
from torch import Tensor

from frostline.contracts.targets import Kind
from frostline.data.target_statistics import tags_in
from frostline.errors import DataError, few, shortened
from frostline.quoting import list_of

LAYERS = 10  # of numbers, at most
LAYER = 20  # samples, at least: of fewer, "at least one" would be a larger part than the one that is asked for


def strata(kind: Kind, targets: Tensor) -> Tensor:
    """(N,) layers, of each of which a split takes the same fraction.

    Classes (N,) are layers themselves. Of labels (N, C) of 0 and 1 a sample's layer is the rarest label that it
    has: so rare ones are shared out as classes are, and frequent ones follow in the mean. So it is of tags (N, W), of
    which the rarest is that of the fewest samples. Of numbers (N, C) layers are quantiles of their mean in standard
    deviations, so that parts have the same range.
    """
    if kind == "class":
        return targets
    if kind != "numbers":
        has = targets == 1 if kind == "labels" else tags_in(targets, 1 + max(int(targets.max()), 0))
        frequency = torch.where(has, has.sum(0), torch.inf)
        return torch.where(has.any(1), frequency.argmin(1), has.shape[1])
    exact = targets.double()
    deviation = exact.std(0, correction=0)
    places = ((exact - exact.mean(0)) / torch.where(deviation > 0, deviation, 1.0)).mean(1).argsort(stable=True)
    layers = torch.empty(len(targets), dtype=torch.int64)
    number = min(LAYERS, max(1, len(targets) // LAYER))
    layers[places] = torch.arange(len(targets)) * number // len(targets)
    return layers


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
        or_divide = f", or give the parts yourself ({divides})" if divides else ""
        raise DataError(
            f"too few samples of a class: {said}; {reason} needs {needed} of each",
            where=where,
            next_step=f"add samples, {named or 'leave those classes out'}{or_divide}",
        )


def _members_by_class(labels: Tensor, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    return [indices[torch.randperm(len(indices), generator=generator)] for indices in members]
