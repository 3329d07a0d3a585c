"""Divide samples so that no group (a patient, a speaker, a place) is on two sides, and into folds. Shapes: N samples;
strata (N,) int64, see `TargetType.strata`; groups (N,) int64.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from frostline.data.tables.table import Row, normalised
from frostline.errors import ConfigError, DataError, counted, few, shortened
from frostline.faults import of_each

TOLERANCE = 0.25  # a split by groups whose share differs by more than a quarter of what was asked is reported
MOST_FOLDS = 20  # from which a split by groups is put together
EXAMPLE = """'data.group_pattern="([^/_]*)_[^/]*$"'  # what precedes the first _ of the file's name"""


def numbered(groups: Sequence[str]) -> Tensor:
    """(N,) index of each sample's group in alphabetical order."""
    places = {name: place for place, name in enumerate(sorted(set(groups)))}
    return torch.tensor([places[name] for name in groups])


def grouped_split(strata: Tensor, groups: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return indices (rest, split), each in ascending order; the split has whole groups, about `fraction` of the
    samples and of each stratum. There must be at least two groups."""
    most = min(len(groups.unique()), MOST_FOLDS)
    pairs = ((number, taken) for number in range(2, most + 1) for taken in range(1, number))
    number, taken = min(pairs, key=lambda pair: (abs(pair[1] / pair[0] - fraction), pair))
    folds = _folds(strata, groups, number, seed)
    sides = [torch.cat([folds[(first + i) % number] for i in range(taken)]) for first in range(number)]
    split = min(sides, key=lambda side: abs(len(side) / len(strata) - fraction)).sort().values
    return _rest(len(strata), split), split


def fold_split(strata: Tensor, groups: Tensor | None, folds: int, fold: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return indices (rest, split), each in ascending order. The splits of all folds together are all samples, each
    once."""
    split = _folds(strata, groups, folds, seed)[fold]
    return _rest(len(strata), split), split


def _folds(strata: Tensor, groups: Tensor | None, number: int, seed: int) -> list[Tensor]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    rows = strata.unique(return_inverse=True)[1]
    if int(rows.bincount().max()) < number:  # which scikit-learn refuses
        rows = torch.zeros_like(rows)
    with warnings.catch_warnings():  # about strata with fewer samples than folds
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        own = None if groups is None else groups.numpy()
        made = [*kind(number, shuffle=True, random_state=seed).split(rows.numpy(), rows.numpy(), own)]
    return [torch.from_numpy(split).sort().values for _, split in made]


def _rest(number: int, split: Tensor) -> Tensor:
    rest = torch.ones(number, dtype=torch.bool)
    rest[split] = False
    return rest.nonzero().flatten()


def require_folds(folds: int | None, fold: int) -> None:
    """Raises ConfigError if there is no such fold."""
    if folds is not None and (folds < 2 or fold >= folds):
        most = max(folds, 2)
        raise ConfigError(
            f"there is no fold {fold} of {folds}: folds are counted from 0, and there are at least two",
            where="data.folds, data.fold",
            next_step=f"data.folds={most} data.fold={min(fold, most - 1)}",
        )
    if folds is None and fold:
        raise ConfigError(
            f"data.fold={fold} does nothing without data.folds", where="data.fold", next_step="data.folds=5"
        )


def require_groups(number: int, needed: int, sides: str, where: object, ungroups: str) -> None:
    """Raises DataError if there are fewer groups than sides. sides: their names. ungroups: the setting that ignores
    groups."""
    if number < needed:
        raise DataError(
            f"{counted(number, 'group is', 'groups are')} too few for {sides}",
            where=where,
            next_step=f"add samples of other groups, give the splits yourself, or {ungroups} ignores groups",
        )


def shared_groups(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Sentences on groups that are in several given splits. groups: by split, of each sample."""
    names = {split: set(some) for split, some in groups.items()}
    notes = []
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        both = sorted(names.get(one, set()) & names.get(other, set()))
        if both:
            number = counted(len(both), "group is", "groups are")
            notes.append(f"{number} in both {one} and {other}: {few([shortened(name) for name in both])}")
    return notes


def share_note(split: str, share: float, wanted: float, why: str = "groups stay whole") -> list[str]:
    """A sentence on a split whose share of the samples is far from what was asked."""
    if abs(share - wanted) <= TOLERANCE * wanted:
        return []
    return [f"{split} has {100 * share:.0f} % of the samples instead of {100 * wanted:.0f} %, as {why}"]


def groups_by_pattern(files: Mapping[str, Sequence[Path]], folder: Path, pattern: str | None) -> dict[str, list[str]]:
    """Find the group of each file, by split: what the pattern's first parentheses match in the path within `folder`, or
    all that it matches. There are no groups without a pattern. Raises DataError that names paths without a match."""
    if pattern is None:
        return {}
    return {
        split: _groups_in([file.relative_to(folder).as_posix() for file in some], pattern)
        for split, some in files.items()
    }


def _groups_in(paths: Sequence[str], pattern: str) -> list[str]:
    found = re.compile(pattern)

    def group(path: str) -> str:
        match = found.search(path)
        name = None if match is None else match.group(1 if found.groups else 0)
        if not name:
            raise DataError(
                f"data.group_pattern finds no group in this path: {pattern}",
                where=path,
                next_step="correct the pattern; parentheses mark the group: " + EXAMPLE,
            )
        return normalised(str(name))

    return of_each(group, paths, "files have no group")


def require_pattern(pattern: str | None) -> None:
    """Raises ConfigError if the pattern is no regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(
            f"'{pattern}' is no regular expression: {error}",
            where="data.group_pattern",
            next_step=EXAMPLE,
        ) from None


def groups_of(rows: Sequence[Row], column: str, one: str, next_step: str) -> list[str]:
    """The group that each row of a table names. one: what messages call it. Raises DataError that names the rows which
    name no group."""

    def group(row: Row) -> str:
        name = row.cells[column].strip()
        if not name:
            raise DataError(f"the column '{column}' names no {one}", where=row.where, next_step=next_step)
        return name

    return of_each(group, rows, f"samples have no {one}")
