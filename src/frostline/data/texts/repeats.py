"""Texts that stand more than once: within training they weigh more, in two parts they are trained and tested on, and
with two targets one is wrong."""

import hashlib
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from frostline.errors import shortened


class Repeats(NamedTuple):
    """within: training samples that stand in training before. between: different texts that both parts have, by the
    names of the two, of every pair of parts. contradicting: different texts that have several targets, in any part.
    """

    within: int
    between: dict[tuple[str, str], int]
    contradicting: list[Sequence[str]]

    def told(self) -> list[str]:
        """In sentences, none where nothing stands twice."""
        said = [(self.within, "training text", "repeat", "an earlier one")]
        said += [(count, "text", "stand", f"both in {one} and in {two}") for (one, two), count in self.between.items()]
        sentences = [
            f"1 {what} {does}s {where}" if count == 1 else f"{count:,} {what}s {does} {where}"
            for count, what, does, where in said
            if count
        ]
        if self.contradicting:
            have = f"{len(self.contradicting):,} texts have" if len(self.contradicting) > 1 else "1 text has"
            sentences.append(f"{have} different targets, such as '{shortened(self.contradicting[0][0])}'")
        return sentences


def repeats(
    parts: Mapping[str, Sequence[Sequence[str]]], targets: Mapping[str, Sequence[Hashable]] | None = None
) -> Repeats:
    """parts: samples of each: texts, or words. Case and blanks count; how a character is composed
    does not (Unicode's NFC). targets: of the same samples.
    """
    digests = {part: [_digest(sample) for sample in samples] for part, samples in parts.items()}
    first: dict[bytes, Hashable] = {}
    contradicting: dict[bytes, Sequence[str]] = {}
    for part, found in (targets or {}).items():
        for digest, sample, target in zip(digests[part], parts[part], found, strict=True):
            if first.setdefault(digest, target) != target:
                contradicting.setdefault(digest, sample)
    different = {part: set(found) for part, found in digests.items()}
    return Repeats(
        len(digests.get("train", ())) - len(different.get("train", ())),
        {(one, two): len(different[one] & different[two]) for one, two in combinations(parts, 2)},
        [*contradicting.values()],
    )


def _digest(sample: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in sample:
        encoded = unicodedata.normalize("NFC", text).encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
