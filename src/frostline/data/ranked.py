"""Samples that are ranked by user: what the task needs to know of them, and how many users each score concerns."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.grouping import numbered
from frostline.data.source import Source
from frostline.data.split import Split
from frostline.data.split_columns import Users
from frostline.data.target_types.base import TargetType
from frostline.errors import counted
from frostline.tasks.ranking import NDCG, NOBODY, RECALL, K, who_counts, worth_of

THOSE = {NDCG: "with different targets", RECALL: f"with more than {K} samples, relevant ones and others"}


def name_users(users: Users, sources: Sequence[Source | None]) -> None:
    """Give each source the users of its samples. sources: of train, val and test; that of train may be another split's,
    if there are no training samples."""
    for split, source in zip(("train", "val", "test"), sources, strict=True):
        if source is not None:
            names = users.of.get(split) or next(iter(users.of.values()))
            source.users = torch.where(torch.tensor([name == "" for name in names]), NOBODY, numbered(names))


def ranked(users: Users, target: TargetType, targets: Targets, splits: tuple[Split, Split, Split]) -> dict[str, Any]:
    """The entry `ranked` of `Targets.about`; none if samples with such targets are not ranked. targets: of training.
    Raises ConfigError if `data.relevant` is none of them."""
    train, val, _ = splits
    found = target.ranked(targets, train.labels, users.relevant)
    if found is None:
        return {}
    scores = [score for score, number in _concerned(val, found).items() if number]
    return {"ranked": {"by": users.column, "scores": scores, **found}}


def ranking_notes(users: Users | None, targets: Targets, splits: Mapping[str, Split]) -> list[str]:
    """Sentences on the users of validation and test, or why their samples are not ranked. splits: by name."""
    if users is None:
        return []
    if "ranked" not in targets.about:
        return [f"samples are not ranked by '{users.column}': this needs one number, or a class (data.relevant)"]
    notes = []
    for name, split in splits.items():
        if name != "train":
            users_of = _users_of(split)
            number, without = len(users_of[users_of != NOBODY].unique()), int((users_of == NOBODY).sum())
            concerned = _concerned(split, targets.about["ranked"])
            counts = " and ".join(f"{score} is of {concerned[score]:,} {THOSE[score]}" for score in concerned)
            notes.append(f"{name} has {counted(number, 'user', 'users')} by '{users.column}': {counts}")
            if without:
                rows = counted(without, f"sample of {name} names", f"samples of {name} name")
                notes.append(f"{rows} no user, and {'is' if without == 1 else 'are'} not ranked")
    return notes


def _concerned(split: Split, ranked: Mapping[str, float]) -> dict[str, int]:
    """The number of users whom each score concerns."""
    users = _users_of(split)
    there = users != NOBODY
    those = who_counts(worth_of(split.labels[there], ranked), users[there])
    return {name: int(some.sum()) for name, some in zip(THOSE, those, strict=True)}


def _users_of(split: Split) -> Tensor:
    users = split.source.users_of(split.index)
    assert users is not None
    return users
