"""Samples and their targets, as a data set comes. Shapes: N samples."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from frostline.contracts.tokens import Tokens
from frostline.data.target_types.base import TargetType


class Source(ABC):
    """labels: (N,) int64 classes; (N, C) float32 of labels, 0 or 1, and of numbers; (N, W) int64 of each word, -100
    where a sample has no further one.
    lengths: (N,) tokens of each sample; None where all are of one size.
    """

    labels: Tensor
    lengths: Tensor | None = None

    @abstractmethod
    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tensor | Tokens, Tensor | None]:
        """Inputs and, where they were padded to a common size, the sizes (B, 2) of pictures.

        whole: all of each picture; else what an evaluation needs, all of one size.
        """

    def targets(self, index: Tensor) -> Tensor:
        """(B, ...), as the task takes them."""
        return self.labels[index]

    def scored_targets(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Targets by which outputs are scored, and the sizes (B, 2) of the pictures in whose frame they are."""
        return self.targets(index), None

    def name_of(self, index: int) -> str:
        """What a user knows a sample by: its path, or its file and line; in memory its number, from 1."""
        return f"sample {index + 1}"

    def words_of(self, index: int) -> Tensor | None:
        """(W,) the word of a sample, from 0, that each of its targets is of; None if a sample has one target."""
        return None

    @cached_property
    def content(self) -> str:
        """The same for the same samples in the same order, wherever they lie and whatever is said of them. Reads all
        of them the first time."""
        return self._content()

    @abstractmethod
    def _content(self) -> str: ...

    def fingerprint(self, target: TargetType) -> str:
        """Of samples and targets."""
        digest = hashlib.blake2b(self.content.encode(), digest_size=16)
        digest.update(target.digested(self.labels))
        return digest.hexdigest()

    @property
    def in_memory(self) -> bool:
        """Whether they come without being decoded."""
        return True


def every(source: Source) -> Tensor:
    return torch.arange(len(source.labels))
