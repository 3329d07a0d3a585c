"""The modality of texts: tokenize them once, cache the tokens, and batch texts of similar length."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch

from frostline.config.ranges import Positive
from frostline.contracts.specs import Spec, TextSpec
from frostline.contracts.tokens import Tokens
from frostline.data.modality import Given, Modality, narrowed
from frostline.data.predicting import Opened
from frostline.data.source import ends_of
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.data.texts.predicting import TextPredicting
from frostline.data.texts.repeats import repeats
from frostline.data.texts.strings import Samples, TaggedTexts, Texts
from frostline.data.texts.tokenized import Tokenizer, TokenSource
from frostline.data.views import Views
from frostline.errors import counted

EXCERPT, MOST_EXCERPTS = 500, 50_000  # characters; texts of a split, which then take at most 100 MB


class TextModality(Modality):
    """Tokenizes what a text reader found (`Texts` or `TaggedTexts` per split) with the backbone's tokenizer.

    conf/data/_text.yaml explains the settings. Raises ConfigError for a backbone that does not take texts."""

    spec: TextSpec
    samples = "texts"
    hub_name = "text"
    plainly = "each text as it is"
    kept_as: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(self, spec: Spec, *, batch_tokens: Positive[int] | None, max_length: Positive[int] | None) -> None:
        step = "a text backbone (model=minilm), or pictures (data=image_folder)"
        self.spec = narrowed(spec, TextSpec, self.samples, step).at(max_length)
        self.max_tokens = batch_tokens

    def read(self, given: Given) -> None:
        self.per_word = given.target.per_word
        tokenizer = Tokenizer(self.spec, words=self.per_word)
        of_pairs = _pair_notes(given.samples[0], tokenizer) if not self.per_word else []
        self.read_notes = [*given.notes, *of_pairs]
        self._strings: dict[int, Samples] = {}

        def source(texts: Texts | TaggedTexts) -> TokenSource:
            made = tokenizer.source(texts, given.name, given.cache)
            self._strings[id(made)] = texts.strings
            return made

        train = source(given.samples[0])
        val, test = (None if texts is None else source(texts) for texts in given.samples[1:])
        self.sources = train, val, test

    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> Views:
        """Find repeated texts, and return views that change nothing."""
        texts = {name: self._texts_of(split) for name, split in splits.items()}
        for name in [name for name in splits if name != "train"]:
            _keep_excerpts(splits[name], texts[name])
        self.repeats = repeats(texts, {name: target.comparable(split.labels) for name, split in splits.items()})
        self._strings.clear()
        return Views()

    def _texts_of(self, split: Split) -> Samples:
        strings = self._strings[id(split.source)]
        return [strings[place] for place in split.index.tolist()]

    def look(self) -> dict[str, Any]:
        return {"max_length": self.spec.max_length, "batch_tokens": self.max_tokens}

    def example(self, train: Split, *, longest: bool = False) -> Tokens:
        """values (1, L, 2)."""
        assert train.lengths is not None
        length = int(train.lengths.max()) if longest else round(float(train.lengths.double().mean()))
        return Tokens(torch.zeros(1, length, 2, dtype=torch.int64), torch.ones(1, length, dtype=torch.bool))

    def size_of(self, train: Split) -> str:
        assert train.lengths is not None
        return f"{train.lengths.double().mean():.0f} tokens in the mean, {int(train.lengths.max())} in the longest"

    def predicting(self, run: Opened, target: TargetType) -> TextPredicting:
        return TextPredicting(run, self.spec, words=target.per_word, batch_tokens=self.max_tokens)

    def describe(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """Numbers of tokens, lengths of training texts, numbers of texts that were cut off, and of repeated texts."""
        lengths = {name: split.lengths for name, split in splits.items()}
        return {
            "tokens": {name: int(found.sum()) for name, found in lengths.items() if found is not None},
            "lengths": ends_of(lengths.get("train"), "tokens"),
            "cut_off": self._cut_off(splits),
            "repeats": {
                "within_train": self.repeats.within,
                **{f"{first}_and_{second}": count for (first, second), count in self.repeats.between.items()},
                "contradicting": len(self.repeats.contradicting),
            },
        }

    def _cut_off(self, splits: Mapping[str, Split]) -> int:
        lengths = [split.lengths for split in splits.values() if split.lengths is not None]
        return sum(int((it >= self.spec.max_length).sum()) for it in lengths)

    def _words_lost(self, splits: Mapping[str, Split]) -> int:
        """Tagged words of which the network sees no token."""
        sources = {id(split.source): split.source for split in splits.values()}.values()
        return sum(source.words_lost() for source in sources if isinstance(source, TokenSource))

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        count = self._cut_off(splits)
        missed = ", and entities there are missed" if self.per_word else ""
        have = counted(count, "text has", "texts have")
        cut_off = [f"{have} {self.spec.max_length} tokens or more: the rest is cut off{missed}"]
        lost = self._words_lost(splits) if self.per_word else 0
        words = [f"{lost:,} words are cut off or have no token, so nothing is learned from them"] if lost else []
        alone = self._alone(next(iter(splits.values())))
        return [*self.read_notes, *(cut_off if count else []), *alone, *words, *self.repeats.told()]

    def _alone(self, train: Split) -> list[str]:
        """Return a sentence if texts have more tokens than a batch may have."""
        lengths = train.lengths
        count = int((lengths > self.max_tokens).sum()) if lengths is not None and self.max_tokens is not None else 0
        several = f"{count:,} training texts have" if count > 1 else "1 training text has"
        return [f"{several} more tokens than data.batch_tokens={self.max_tokens}: a batch each"] if count else []


def _keep_excerpts(split: Split, texts: Samples) -> None:
    """Keep the beginning of each text, to show it: the strings themselves are released."""
    if isinstance(split.source, TokenSource) and len(texts) <= MOST_EXCERPTS:
        excerpts = (" ".join(strings)[:EXCERPT] for strings in texts)
        split.source.excerpts |= dict(zip(split.index.tolist(), excerpts, strict=True))


def _pair_notes(texts: Texts, tokenizer: Tokenizer) -> list[str]:
    if len(texts.strings[0]) == 1 or tokenizer.parts_pairs:
        return []
    return [
        "the model's tokenizer puts nothing between the two texts of a pair, so the model cannot tell where one ends; "
        "an encoder (model=distilbert) can"
    ]
