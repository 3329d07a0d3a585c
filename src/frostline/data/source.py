"""The contract of a source: the samples of one or more splits and their targets, by index. Shapes: N samples."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from frostline.contracts.tokens import Tokens
from frostline.data.target_types.base import TargetType

CHUNK = 64  # samples whose targets are digested at a time


class Source(ABC):
    """labels: (N,) int64 classes; (N, C) float32 labels (0 or 1) or numbers; (N, C) int64, how much of each
        class a sample shows; (N, W) int64 tags of words, padded with -100.
    lengths: (N,) tokens of each sample; None if all samples have one size.
    users: (N,) int64 index of the user whose each sample is, -1 if it names none; None if samples have no users.
    """

    labels: Tensor
    lengths: Tensor | None = None
    users: Tensor | None = None

    @property
    def decoded_by(self) -> Sequence[str]:
        """Versions of what decodes the samples, beside those that all keys of caches hold."""
        return ()

    @abstractmethod
    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tensor | Tokens, Tensor | None]:
        """Load inputs, and the sizes (B, 2) of pictures if they were padded to a common size.

        whole: load whole pictures, for augmentation; otherwise only what an evaluation needs, all in one size.
        """

    def targets(self, index: Tensor) -> Any:
        """(B, ...) in the form that the task's loss takes; by name, if the task learns from several. Baselines and
        splits take `labels`. A resume needs the same bits again (`named_targets`)."""
        return self.labels[index]

    def scored_targets(self, index: Tensor) -> tuple[Any, Tensor | None]:
        """Targets for metrics, and the sizes (B, 2) in pixels at which outputs are scored, None if they have none."""
        return self.targets(index), None

    def users_of(self, index: Tensor) -> Tensor | None:
        return None if self.users is None else self.users[index]

    def name_of(self, index: int) -> str:
        """What identifies a sample in messages: its path, or file and line; its number from 1 if it is in memory."""
        return f"sample {index + 1}"

    def shown(self, index: int) -> Tensor | str | None:
        """A sample as people see it: uint8 (3, H, W) of a picture, or the beginning of a text; None if neither. Raises
        DataError if it cannot be read."""
        inputs, sizes = self.fetch([index], whole=True)
        if not isinstance(inputs, Tensor) or inputs.dtype != torch.uint8 or inputs.ndim != 4:
            return None
        height, width = inputs.shape[2:] if sizes is None else sizes[0].tolist()
        return inputs[0, :, :height, :width]

    def words_of(self, index: int) -> Tensor | None:
        """(W,) the index of the word, from 0, to which each target belongs; None if samples have one target each."""
        return None

    @cached_property
    def content(self) -> str:
        """Digest of the samples and their order, independent of targets and of where they lie. The first call reads all
        samples."""
        return self._content()

    @abstractmethod
    def _content(self) -> str: ...

    @property
    def as_found(self) -> str:
        """Digest of the samples as the reader found them: unlike `content`, the same for every network that reads the
        same columns."""
        return self.content

    @abstractmethod
    def digests(self, index: Tensor) -> list[bytes]:
        """A digest of each of these samples, the same wherever it lies and whatever its target is. Files are not read
        again if `content` has read them."""

    def fingerprint(self, target: TargetType, *, as_found: bool = False) -> str:
        """Digest of samples and targets. as_found: take the samples as the reader found them."""
        digest = hashlib.blake2b((self.as_found if as_found else self.content).encode(), digest_size=16)
        digest.update(target.digested(self.labels))
        return digest.hexdigest()

    @cached_property
    def named_targets(self) -> str | None:
        """Digest of every target, if `targets` have names; else None, as `fingerprint` holds all. The fingerprint does
        not hold the outputs of a teacher, so that runs with and without a teacher are runs of the same samples."""
        if not len(self.labels) or not isinstance(self.targets(every(self)[:1]), Mapping):
            return None
        digest = hashlib.blake2b(digest_size=16)
        for some in every(self).split(CHUNK):
            for name, leaf in sorted(self.targets(some).items()):
                digest.update(f"{name} {leaf.dtype} {tuple(leaf.shape)}\n".encode())
                digest.update(leaf.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def in_memory(self) -> bool:
        """Whether `fetch` decodes nothing."""
        return True


def named_targets(sources: Iterable[Source | None]) -> dict[str, str]:
    """The entry `named_targets` of run.json: the digests of `Source.named_targets`; empty if no targets have names."""
    found = {id(source): source.named_targets for source in sources if source is not None}
    digests = [digest for digest in found.values() if digest is not None]
    return {"named_targets": "-".join(digests)} if digests else {}


def every(source: Source) -> Tensor:
    return torch.arange(len(source.labels))


def ends_of(lengths: Tensor | None, unit: str) -> dict[str, str]:
    """The shortest, the median and the longest of (N,) lengths, in words; empty for None."""
    if lengths is None or not len(lengths):
        return {}
    ends = {"shortest": lengths.min(), "median": lengths.median(), "longest": lengths.max()}
    digits = ".3g" if lengths.is_floating_point() and lengths.max() < 1000 else ",.0f"
    return {name: f"{value.item():{digits}} {unit}" for name, value in ends.items()}
