"""Convert entity tags of any scheme to BIO: `B-x` begins an entity x, `I-x` continues it, `O` is outside.

Sources: L. Ramshaw and M. Marcus, "Text Chunking using Transformation-Based Learning", 1995 (IOB1); E. Tjong Kim Sang
and J. Veenstra, "Representing Text Chunks", 1999 (BIO, which they call IOB2).
"""

from typing import NamedTuple

from frostline.data.reader import Found
from frostline.data.tables.table import Unit, normalised
from frostline.data.texts.strings import Places, TaggedTexts
from frostline.errors import DataError, close_names

OUTSIDE = "O"
AS_BIO = {"B": "B", "I": "I", "S": "B", "U": "B", "E": "I", "L": "I"}  # S, E: of BIOES; U, L: of BILOU
CLOSES = "SUEL"  # prefixes that end an entity, whatever follows


class Sentence(NamedTuple):
    """places: `Row.place` of each word."""

    words: list[str]
    tags: list[str]
    places: list[int]


class Tagged(NamedTuple):
    """The sentences of a split, at least one. source, unit: see `Row`."""

    source: object
    sentences: list[Sentence]
    unit: Unit

    def where(self, sentence: Sentence, word: int) -> str:
        return f"{self.source}, {self.unit} {sentence.places[word]}"


def tagged_set(splits: dict[str, Tagged], known: list[str] | None = None) -> Found:
    """Convert tags to BIO and number them. splits: `train`, then `val` and `test` if they exist. known: names of tags
    of a trained run, used instead. Raises DataError that names the line of an invalid tag, or of an entity that does
    not occur in the training split.
    """
    notes: list[str] = []
    tags = {split: _bio(tagged, notes) for split, tagged in splits.items()}
    entities = sorted({tag[2:] for sentence in tags["train"] for tag in sentence if tag != OUTSIDE})
    if not entities and known is None:
        raise DataError(
            "no word of the training split belongs to an entity: every tag is 'O'",
            where=splits["train"].source,
            next_step="write tags like B-person into the column of tags; put sentences with entities into training",
        )
    names = known or [OUTSIDE, *(f"{prefix}-{entity}" for entity in entities for prefix in "BI")]
    numbers = {name: number for number, name in enumerate(names)}
    made = {split: _numbered(tagged, tags[split], numbers) for split, tagged in splits.items()}
    return Found(names, made["train"], made.get("val"), made.get("test"), notes)


def _numbered(tagged: Tagged, tags: list[list[str]], numbers: dict[str, int]) -> TaggedTexts:
    for sentence, own in zip(tagged.sentences, tags, strict=True):
        for word, tag in enumerate(own):
            if tag not in numbers:
                raise DataError(
                    f"the entity of '{sentence.tags[word]}' does not occur in training: {close_names(tag, numbers)}",
                    where=tagged.where(sentence, word),
                    next_step="correct it, or move some sentences with that entity to training",
                )
    words = [sentence.words for sentence in tagged.sentences]
    places = Places(tagged.source, [sentence.places[0] for sentence in tagged.sentences], tagged.unit)
    return TaggedTexts(words, [[numbers[tag] for tag in own] for own in tags], places)


def _bio(tagged: Tagged, notes: list[str]) -> list[list[str]]:
    """Convert the tags to BIO, and append a sentence to `notes` if any changed."""
    found = []
    spelled, begun = 0, 0
    for sentence in tagged.sentences:
        made: list[str] = []
        goes_on = ""  # the entity of the previous word, unless it ends there
        for word, tag in enumerate(sentence.tags):
            prefix, entity = _taken_apart(tag, tagged, sentence, word)
            bio = f"{AS_BIO[prefix]}-{entity}" if entity else OUTSIDE
            spelled += prefix not in "BIO"
            if bio.startswith("I-") and entity != goes_on:
                bio = f"B-{entity}"
                begun += 1
            made.append(bio)
            goes_on = "" if prefix in CLOSES else entity
        found.append(made)
    if spelled:
        notes.append(f"{tagged.source}: {spelled} tags of BIOES or BILOU (S, E, U, L) were read as B or I")
    if begun:
        notes.append(f"{tagged.source}: {begun} entities begin without B-, which was added (IOB1)")
    return found


def _taken_apart(tag: str, tagged: Tagged, sentence: Sentence, word: int) -> tuple[str, str]:
    """Split a tag into prefix and entity; the entity of `O` is empty. Raises DataError."""
    tag = normalised(tag)
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, _, entity = tag.partition("-")
    if prefix not in AS_BIO or not entity:
        raise DataError(
            f"'{tag}' is not an entity tag: O, or B-<entity>, I-<entity> (also S-, E-, U-, L-)",
            where=tagged.where(sentence, word),
            next_step="write one word per line, first the word, last its tag; an empty line after each sentence, and "
            "no comments",
        )
    return prefix, entity
