"""The LightningDataModule of texts: as tokens, in batches of about one length. A kind of data says only where texts
lie."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch

from frostline.config.ranges import Positive
from frostline.contracts.specs import Spec, TextSpec
from frostline.contracts.tokens import Tokens
from frostline.data.module import Data
from frostline.data.parts import Part, named
from frostline.data.source import Sources
from frostline.data.texts.repeats import repeats
from frostline.data.texts.strings import Samples, TaggedSet, TaggedTexts, Texts, TextSet
from frostline.data.texts.tokenized import Tokenizer, TokenSource
from frostline.errors import ConfigError


class TextData(Data):
    """spec: of the backbone. The rest is explained in conf/data/_text.yaml.

    Raises as `Data` does, and ConfigError where the backbone does not take texts.
    """

    spec: TextSpec
    samples = "texts"
    plainly = "each text as it is"
    kept_as: ClassVar[Literal["tokens"]] = "tokens"

    def __init__(
        self, spec: Spec, *, batch_tokens: Positive[int] | None, max_length: Positive[int] | None, **common: Any
    ) -> None:
        self.spec = _of_texts(spec).at(max_length)
        self.max_tokens = batch_tokens
        super().__init__(**common)
        texts = {name: self._texts_of(part) for name, part in named(self.parts)}
        self.repeats = repeats(texts, {name: self.target.comparable(part.labels) for name, part in named(self.parts)})
        self._strings.clear()

    def _texts_of(self, part: Part) -> Samples:
        strings = self._strings[id(part.source)]
        return [strings[place] for place in part.index.tolist()]

    @abstractmethod
    def read_texts(self) -> TextSet | TaggedSet:
        """Find the texts. Raises DataError."""

    def read(self) -> Sources:
        found = self.read_texts()
        tokenizer = Tokenizer(self.spec, words=self.target.per_word)
        of_pairs = _pair_notes(found.train, tokenizer) if isinstance(found, TextSet) else []
        self.read_notes = [*found.notes, *of_pairs]
        self._strings: dict[int, Samples] = {}

        def source(texts: Texts | TaggedTexts) -> TokenSource:
            made = tokenizer.source(texts, self.name, self.sample_cache)
            self._strings[id(made)] = texts.strings
            return made

        train = source(found.train)
        val, test = (None if texts is None else source(texts) for texts in (found.val, found.test))
        return Sources(found.names, train, val, test)

    def look(self) -> dict[str, Any]:
        return {"max_length": self.spec.max_length, "batch_tokens": self.max_tokens}

    def example(self, *, longest: bool = False) -> Tokens:
        """values (1, L, 2)."""
        lengths = self.train_part.lengths
        assert lengths is not None
        length = int(lengths.max()) if longest else round(float(lengths.double().mean()))
        return Tokens(torch.zeros(1, length, 2, dtype=torch.int64), torch.ones(1, length, dtype=torch.bool))

    def size_said(self) -> str:
        lengths = self.train_part.lengths
        assert lengths is not None
        return f"{lengths.double().mean():.0f} tokens in the mean, {int(lengths.max())} in the longest"

    def describe(self) -> dict[str, Any]:
        """And how many tokens there are, how many texts were cut off, and which stand in several parts."""
        lengths = {name: part.lengths for name, part in named(self.parts)}
        return super().describe() | {
            "tokens": {name: int(found.sum()) for name, found in lengths.items() if found is not None},
            "cut_off": self._cut_off(),
            "repeats": {
                "within_train": self.repeats.within,
                **{f"{first}_and_{second}": count for (first, second), count in self.repeats.between.items()},
                "contradicting": len(self.repeats.contradicting),
            },
        }

    def _cut_off(self) -> int:
        return sum(
            int((part.lengths >= self.spec.max_length).sum())
            for _, part in named(self.parts)
            if part.lengths is not None
        )

    def _words_lost(self) -> int:
        """Tagged words of which the network sees no token."""
        sources = {id(part.source): part.source for part in self.parts}.values()
        return sum(source.words_lost() for source in sources if isinstance(source, TokenSource))

    def notes(self) -> list[str]:
        count = self._cut_off()
        missed = ", and entities there are missed" if self.target.per_word else ""
        cut_off = [f"{count:,} texts have {self.spec.max_length} tokens or more: what is beyond is cut off{missed}"]
        lost = self._words_lost() if self.target.per_word else 0
        words = [f"{lost:,} words are cut off or leave no token: nothing is learned from them"] if lost else []
        return [
            *super().notes(),
            *self.read_notes,
            *(cut_off if count else []),
            *self._alone(),
            *words,
            *self.repeats.told(),
        ]

    def _alone(self) -> list[str]:
        """A sentence, if texts have more tokens than a batch is to have."""
        lengths = self.train_part.lengths
        count = int((lengths > self.max_tokens).sum()) if lengths is not None and self.max_tokens is not None else 0
        several = f"{count:,} training texts have" if count > 1 else "1 training text has"
        return [f"{several} more than data.batch_tokens={self.max_tokens}: a batch each"] if count else []


def _pair_notes(texts: Texts, tokenizer: Tokenizer) -> list[str]:
    if len(texts.strings[0]) == 1 or tokenizer.parts_pairs:
        return []
    return [
        "the model's tokenizer puts nothing between the two texts of a pair, so that they run together; an encoder "
        "(model=distilbert) tells them apart"
    ]


def _of_texts(spec: Spec) -> TextSpec:
    """Raises ConfigError where the model takes something else."""
    if not isinstance(spec, TextSpec):
        raise ConfigError(
            f"this backbone takes {spec.kind}s, and this data is text",
            where="model, data",
            next_step="a text backbone (model=minilm), or pictures (data=image_folder)",
        )
    return spec
