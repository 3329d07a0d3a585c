"""Find repeated texts: they weigh more in training, the model is tested on training texts if they are in two splits,
and a target is wrong if there are two."""

import hashlib
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from frostline.errors import shortened


class Repeats(NamedTuple):
    """within: number of training samples equal to an earlier one. between: number of different texts in both splits, by
    their names. contradicting: different texts that have several targets, in any split.
    """

    within: int
    between: dict[tuple[str, str], int]
    contradicting: list[Sequence[str]]

    def told(self) -> list[str]:
        """Sentences for the user; none without repeats."""
        counts = [(self.within, "training text", "repeat", "an earlier one")]
        counts += [(count, "text", "occur", f"in both {one} and {two}") for (one, two), count in self.between.items()]
        sentences = [
            f"1 {what} {does}s {where}" if count == 1 else f"{count:,} {what}s {does} {where}"
            for count, what, does, where in counts
            if count
        ]
        if self.contradicting:
            have = f"{len(self.contradicting):,} texts have" if len(self.contradicting) > 1 else "1 text has"
            sentences.append(f"{have} different targets, such as '{shortened(self.contradicting[0][0])}'")
        return sentences


def repeats(
    splits: Mapping[str, Sequence[Sequence[str]]], targets: Mapping[str, Sequence[Hashable]] | None = None
) -> Repeats:
    """Compare samples after Unicode normalisation (NFC); case and blanks matter. splits: texts or words of each sample,
    by split. targets: of the same samples.
    """
    digests = {split: [_digest(sample) for sample in samples] for split, samples in splits.items()}
    first: dict[bytes, Hashable] = {}
    contradicting: dict[bytes, Sequence[str]] = {}
    for split, found in (targets or {}).items():
        for digest, sample, target in zip(digests[split], splits[split], found, strict=True):
            if first.setdefault(digest, target) != target:
                contradicting.setdefault(digest, sample)
    different = {split: set(found) for split, found in digests.items()}
    return Repeats(
        len(digests.get("train", ())) - len(different.get("train", ())),
        {(one, two): len(different[one] & different[two]) for one, two in combinations(splits, 2)},
        [*contradicting.values()],
    )


def _digest(sample: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for text in sample:
        encoded = unicodedata.normalize("NFC", text).encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.digest()
