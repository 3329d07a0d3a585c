"""A tag for each word. Targets: (N, W) int64 indices of names, padded with NO_TAG to the longest sample's W words."""

from collections.abc import Hashable
from typing import ClassVar

import torch
from torch import Tensor

from frostline.contracts.targets import BEGINS, NO_TAG, Targets
from frostline.contracts.tokens import Tokens
from frostline.data.target_types.base import Rows, TargetType, require_differences
from frostline.data.target_types.labels import rarest


class Tags(TargetType):
    """about: `mean_words` of a training sample."""

    kind = "tags"
    described_as = "a tag for each word"
    plural = "tags"
    task = "token_classification"
    data = "data=conll or data=hf_dataset"
    about: ClassVar[dict[str, str]] = {"mean_words": "float"}
    per_word = True
    rows_from = "tokens"
    rows_are = "words"

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        """Number of samples with each entity, by its B- tag: entities of one word have no I- tag."""
        counts = zip(names, tags_in(targets, len(names)).count_nonzero(0).tolist(), strict=True)
        return {name.removeprefix(BEGINS): count for name, count in counts if name.startswith(BEGINS)}

    def strata(self, targets: Tensor) -> Tensor:
        """The rarest tag in each sample: the one that fewest samples have."""
        return rarest(tags_in(targets, 1 + max(int(targets.max()), 0)))

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """`Targets.counts` are words."""
        words = targets[targets != NO_TAG]
        counts = words.bincount(minlength=len(names)).tolist()
        return Targets(self.kind, names, counts, {"mean_words": len(words) / len(targets)})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """The percentage is of words."""
        return super().frequencies(targets, sum(targets.counts))

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Raises DataError that names a tag which every word has."""
        step = "add samples that have words with other tags"
        require_differences(targets, sum(targets.counts), "word", step, where, name="tag")

    def rows(self, features: Tokens, targets: Tensor) -> Rows:
        """A row for each word with a tag that was not cut off: its first token. targets: (B, L + K), as in a batch."""
        seen = targets[:, : features.values.shape[1]]
        tagged = seen != NO_TAG
        return Rows(features.values[tagged], seen[tagged], tagged.nonzero()[:, 0])

    def comparable(self, targets: Tensor) -> list[Hashable]:
        """Compares tags without padding, which depends on the longest sample."""
        return [row[row != NO_TAG].tobytes() for row in targets.numpy()]


def tags_in(targets: Tensor, number: int) -> Tensor:
    """(N, W) tags → (N, number) bool, which tags each sample has. number: of different tags."""
    has = torch.zeros(len(targets), number + 1, dtype=torch.bool)
    has.scatter_(1, targets.masked_fill(targets == NO_TAG, number), True)
    return has[:, :number]
