"""Find repeated pictures: the model is tested on training pictures if they are in two splits, and a target is wrong if
there are two."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from frostline.data.files.kind import FileKind
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.sources import Pictures
from frostline.data.split import Split


class PictureRepeats(NamedTuple):
    """within: number of training pictures equal to an earlier one. between: number of different pictures in both
    splits, by their names. contradicting: names of two equal pictures with different targets, a pair per picture.
    """

    within: int
    between: dict[tuple[str, str], int]
    contradicting: list[tuple[str, str]]

    def told(self, kind: FileKind = PICTURES) -> list[str]:
        """Sentences for the user; none without repeats."""
        notes = [f"{_number(self.within, f'training {kind.one}')} the same as an earlier one"] if self.within else []
        notes += [f"{_number(n, kind.one)} in both {one} and {two}" for (one, two), n in self.between.items() if n]
        if self.contradicting:
            one, other = self.contradicting[0]
            count = len(self.contradicting)
            have = f"{kind.many} have" if count > 1 else f"{kind.one} has"
            notes.append(f"{count:,} {have} different targets, such as {one} and {other}")
        return notes


class _Picture(NamedTuple):
    split: str
    source: Pictures
    sample: int
    target: bytes


_found: dict[tuple[str, ...], PictureRepeats] = {}  # of the last splits: the next run of a sweep mostly has the same


def picture_repeats(splits: Mapping[str, Split]) -> PictureRepeats:
    """Compare decoded pixels, so that lossless copies in other formats are found. If some pictures are not in memory,
    compare the files' bytes."""
    of_splits = tuple(_identity(name, split) for name, split in splits.items())
    if of_splits not in _found:
        found = _compared(splits)
        _found.clear()
        _found[of_splits] = found
    return _found[of_splits]


def _identity(name: str, split: Split) -> str:
    """Digest of what is compared: pixels at the network's size, targets, and names."""
    source = split.source
    assert isinstance(source, Pictures)
    first = source.name_of(int(split.index[0])) if len(split) else ""
    identity = [name, split.digest, first, source.in_memory, source.decoding(), tuple(split.labels.shape)]
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=16)
    digest.update(split.labels.contiguous().numpy().data)
    return digest.hexdigest()


def _compared(splits: Mapping[str, Split]) -> PictureRepeats:
    pictures = [_Picture(name, *it) for name, split in splits.items() for it in _of(split)]
    if all(picture.source.in_memory for picture in pictures):
        alike = [same for rough in _groups(pictures, _sketch) for same in _groups(rough, _pixels)]
    else:
        alike = _groups(pictures, _bytes)
    within, between = 0, Counter[tuple[str, str]]()
    contradicting: list[tuple[str, str]] = []
    for group in alike:
        counts = Counter(picture.split for picture in group)
        within += max(counts["train"] - 1, 0)
        between.update(pair for pair in combinations(splits, 2) if counts[pair[0]] and counts[pair[1]])
        other = next((picture for picture in group[1:] if picture.target != group[0].target), None)
        if other is not None:
            contradicting.append((group[0].source.name_of(group[0].sample), other.source.name_of(other.sample)))
    return PictureRepeats(within, dict(between), contradicting)


def _of(split: Split) -> Iterable[tuple[Pictures, int, bytes]]:
    assert isinstance(split.source, Pictures)
    for place in split.index.tolist():
        yield split.source, place, split.source.labels[place].numpy().tobytes()


def _groups(pictures: Sequence[_Picture], key: Callable[[_Picture], bytes]) -> list[list[_Picture]]:
    """Groups of two or more pictures with the same key."""
    found: dict[bytes, list[_Picture]] = {}
    for picture in pictures:
        found.setdefault(key(picture), []).append(picture)
    return [group for group in found.values() if len(group) > 1]


def _sketch(picture: _Picture) -> bytes:
    return picture.source.sketch(picture.sample)


def _pixels(picture: _Picture) -> bytes:
    return picture.source.pixel_digest(picture.sample)


def _bytes(picture: _Picture) -> bytes:
    return picture.source.byte_digest(picture.sample)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count > 1)} {'are' if count > 1 else 'is'}"
