"""Divide samples by their names, so that no identity is on two sides. Shapes: N samples; names, groups (N,) int64."""

import torch
from torch import Tensor

from frostline.errors import DataError, counted

LEAST = 2  # names of a split: with one, nothing can be confused


def joined(names: Tensor, groups: Tensor | None) -> Tensor:
    """(N,) index of the set of samples that have to stay together: those of one name and, with groups, all that are
    connected to them by a common name or group."""
    if groups is None:
        return names
    _, by_name = names.unique(return_inverse=True)
    _, by_group = groups.unique(return_inverse=True)
    own = torch.arange(len(names))
    while True:
        before = own
        for side in (by_name, by_group):
            least = torch.full((int(side.max()) + 1,), len(names)).scatter_reduce(0, side, own, "amin")
            own = least[side]
        if torch.equal(own, before):
            return own


def split_by_names(
    names: Tensor, sets: Tensor, fraction: float, seed: int, *, keep: int
) -> tuple[Tensor, Tensor] | None:
    """Return indices (rest, split), each in ascending order; the split has whole `sets` (see `joined`), about
    `fraction` of the samples and at least LEAST names, and leaves LEAST names for each of `keep` splits. None if these
    sets cannot be divided so."""
    kinds, owner, sizes = sets.unique(return_inverse=True, return_counts=True)
    different, name = names.unique(return_inverse=True)
    held = torch.empty_like(different).scatter_(0, name, owner).bincount(minlength=len(kinds))  # names of each set
    order = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(seed))
    taken, samples = held[order].cumsum(0), sizes[order].cumsum(0)
    fits = (taken >= LEAST) & (int(held.sum()) - taken >= LEAST * keep)
    if not bool(fits.any()):
        return None
    away = (samples.double() / len(names) - fraction).abs().masked_fill(~fits, torch.inf)
    chosen = torch.isin(owner, order[: int(away.argmin()) + 1])
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def too_few(names: Tensor, sides: int, listed: str, where: object, divides: str) -> DataError | None:
    """The error if there are too few names to divide. sides: the number of splits; listed: their names. divides: how a
    user gives them himself."""
    number = len(names.unique())
    if number >= LEAST * sides:
        return None
    or_divide = f"; or give the splits yourself ({divides})" if divides else ""
    found = counted(number, "identity is", "identities are")
    return DataError(
        f"{found} too few for {listed}: each needs {LEAST}, and no identity is in two",
        where=where,
        next_step=f"add samples of other identities{or_divide}",
    )


def not_divisible(split: str, where: object, ungroups: str | None) -> DataError:
    """The error if whole identities, or whole groups of them, leave too few for a split. ungroups: the setting that
    ignores groups; None without groups."""
    if ungroups is None:
        return DataError(
            f"the folds leave too few identities: {split} needs {LEAST} of its own",
            where=where,
            next_step="fewer data.folds, or add samples of other identities",
        )
    return DataError(
        f"the groups join too many identities: {split} cannot have {LEAST} of its own",
        where=where,
        next_step=f"{ungroups}  # divides by identities alone; or give the splits yourself",
    )
