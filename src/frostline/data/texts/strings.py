"""What text readers put into `Found`: texts of a split, not yet tokenized, and their targets. Shapes: N samples, C
labels or numbers.
"""

import hashlib
import struct
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from frostline.data.tables.table import Row, Unit

Samples = Sequence[Sequence[str]]  # per sample: a text, a pair of texts, or words


class Places(NamedTuple):
    """Locations of a split's samples, for messages. source, unit: see `Row`. numbers: `Row.place` of each sample."""

    source: object
    numbers: list[int]
    unit: Unit

    def where(self, sample: int) -> str:
        return Row(self.source, self.numbers[sample], {}, self.unit).where


class Strings:
    """Samples of one or more strings each, and their locations."""

    def __init__(self, strings: Samples, places: Places) -> None:
        self.strings = strings
        self.places = places

    def __len__(self) -> int:
        return len(self.strings)

    def where(self, sample: int) -> str:
        return self.places.where(sample)

    @cached_property
    def content(self) -> str:
        """Digest of the strings and their order, independent of targets and locations."""
        digest = hashlib.blake2b(digest_size=16)
        for strings in self.strings:
            encoded = [string.encode(errors="surrogatepass") for string in strings]  # JSON may have lone ones
            digest.update(struct.pack(f"<{len(encoded) + 1}q", len(encoded), *map(len, encoded)))
            digest.update(b"".join(encoded))
        return digest.hexdigest()


class Texts(Strings):
    """texts: a string or pair per sample. labels: (N,) int64 classes, or (N, C) float32 labels (0 or 1) or numbers."""

    def __init__(self, texts: list[tuple[str, ...]], labels: Tensor, places: Places) -> None:
        super().__init__(texts, places)
        self.labels = labels


class TaggedTexts(Strings):
    """words: of each sentence. labels: for each word the index of its tag's name."""

    def __init__(self, words: list[list[str]], labels: list[list[int]], places: Places) -> None:
        super().__init__(words, places)
        self.labels = labels
