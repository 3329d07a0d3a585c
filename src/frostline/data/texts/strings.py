"""Texts and what is said of them, as they were read: no tokens yet. Shapes: N samples, C labels or numbers."""

import hashlib
import struct
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from frostline.data.tables.table import Row, Unit

Samples = Sequence[Sequence[str]]  # of each a text, a pair of texts, or its words


class Places(NamedTuple):
    """Where samples stand, for messages: as in Row, but for all of one part."""

    source: object
    numbers: list[int]
    unit: Unit

    def where(self, sample: int) -> str:
        return Row(self.source, self.numbers[sample], {}, self.unit).where


class Strings:
    """Samples of several strings each, and where they stand."""

    def __init__(self, strings: Samples, places: Places) -> None:
        self.strings = strings
        self.places = places

    def __len__(self) -> int:
        return len(self.strings)

    def where(self, sample: int) -> str:
        return self.places.where(sample)

    @cached_property
    def content(self) -> str:
        """The same for the same strings in the same order, wherever they stand and whatever is said of them."""
        digest = hashlib.blake2b(digest_size=16)
        for strings in self.strings:
            encoded = [string.encode() for string in strings]
            digest.update(struct.pack(f"<{len(encoded) + 1}q", len(encoded), *map(len, encoded)))
            digest.update(b"".join(encoded))
        return digest.hexdigest()


class Texts(Strings):
    """texts: one string for each sample, or two, a pair of sentences. labels: (N,) int64 classes, or (N, C) float32 of
    labels, 0 or 1, and of numbers.
    """

    def __init__(self, texts: list[tuple[str, ...]], labels: Tensor, places: Places) -> None:
        super().__init__(texts, places)
        self.labels = labels


class TaggedTexts(Strings):
    """words: of each sentence. labels: a tag for each word, its place in the names."""

    def __init__(self, words: list[list[str]], labels: list[list[int]], places: Places) -> None:
        super().__init__(words, places)
        self.labels = labels
