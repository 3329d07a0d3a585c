"""Texts that stand more than once: within training they weigh more, and in two parts they are trained and tested on."""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple


class Repeats(NamedTuple):
    """within: training samples that stand in training before. between: different texts that both parts have, by the
    names of the two, of every pair of parts.
    """

    within: int
    between: dict[tuple[str, str], int]

    def told(self) -> list[str]:
        """In sentences, none where nothing stands twice."""
        said = [(self.within, "training text", "repeat", "an earlier one")]
        said += [(count, "text", "stand", f"both in {one} and in {two}") for (one, two), count in self.between.items()]
        return [
            f"1 {what} {does}s {where}" if count == 1 else f"{count:,} {what}s {does} {where}"
            for count, what, does, where in said
            if count
        ]


def repeats(parts: Mapping[str, Iterable[Sequence[str]]]) -> Repeats:
    """parts: samples of each: texts, or words. Case and blanks count; how a character is composed
    does not (Unicode's NFC). The targets are not looked at.
    """
    digests = {part: [_digest(sample) for sample in samples] for part, samples in parts.items()}
    different = {part: set(found) for part, found in digests.items()}
    return Repeats(
        len(digests.get("train", ())) - len(different.get("train", ())),
        {(first, second): len(different[first] & different[second]) for first, second in combinations(parts, 2)},
    )


def _digest(sample: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in sample:
        encoded = unicodedata.normalize("NFC", text).encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
