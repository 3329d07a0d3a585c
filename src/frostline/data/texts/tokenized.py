"""Texts as tokens, found once and kept for later runs. Shapes: N texts; a row is (L, 3) int32: token, segment, and the
word that begins with it, counted from 0, or -1.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from frostline.contracts.specs import TextSpec
from frostline.contracts.targets import NO_TAG
from frostline.contracts.tokens import Tokens, padded, rows_at
from frostline.data.sample_cache import SampleCache
from frostline.data.source import Source
from frostline.data.texts.strings import Places, Samples, TaggedTexts, Texts
from frostline.errors import ConfigError, DataError, first_line
from frostline.faults import together
from frostline.storage.entry import Entry
from frostline.storage.key import key_of
from frostline.storage.store import Store

LAYOUT = 2  # of rows, and of how they are found: another number forgets all that was kept
COLUMNS = 3
NO_WORD = -1
MOST_CHARACTERS = 5_000_000  # of a text: a tokenizer takes some 150 bytes for each
TOO_LONG = f"a text of more than {MOST_CHARACTERS:,} characters, which memory may not hold as tokens"
DROP = "drop it, or mend it"
OVERLAP = 4  # the part of a window that the next one repeats


class TokenSource(Source):
    """flat: the rows, one after the other. starts: (N + 1,) where each begins. entry: where they are kept.
    labels: as of `Source`; tagged: of each word. places: where the texts stand.
    """

    def __init__(
        self,
        flat: Tensor,
        starts: Tensor,
        labels: Tensor,
        *,
        tagged: bool,
        entry: Entry | None = None,
        places: Places | None = None,
    ) -> None:
        self.flat = flat
        self.starts = starts
        self.labels = labels
        self.tagged = tagged
        self.entry = entry  # in use as long as it is read
        self.places = places
        self.lengths = starts.diff() // COLUMNS

    @classmethod
    def of(
        cls, rows: Sequence[Tensor], labels: Tensor, *, tagged: bool = False, places: Places | None = None
    ) -> "TokenSource":
        """rows: (L, 3) of each text."""
        lengths = torch.tensor([0, *(row.numel() for row in rows)])
        flat = torch.cat([row.reshape(-1) for row in rows])
        return cls(flat, lengths.cumsum(0), labels, tagged=tagged, places=places)

    def require_tokens(self, where: Callable[[int], str]) -> None:
        """Of each text. where: of each, for people. Raises DataError."""
        empty = self.empty()
        if empty:
            more = f", and of {len(empty) - 1:,} more" if len(empty) > 1 else ""
            raise DataError(
                f"the tokenizer finds no token in this text{more}",
                where=where(empty[0]),
                next_step=DROP,
            )

    def empty(self) -> list[int]:
        """Texts without a token."""
        return [place for place, length in enumerate(self.starts.diff().tolist()) if length == 0]

    def words_lost(self) -> int:
        """Tagged words with which no token begins: they were cut off, or left none."""
        begin = int((self.flat.view(-1, COLUMNS)[:, 2] >= 0).sum())
        return int((self.labels != NO_TAG).sum()) - begin if self.tagged else 0

    def words(self, place: int) -> Tensor:
        """(L,): the word that begins with each token of a text, or -1."""
        return self._rows(torch.tensor([place]))[0][:, 2].long()

    def name_of(self, index: int) -> str:
        return super().name_of(index) if self.places is None else self.places.where(index)

    def words_of(self, index: int) -> Tensor | None:
        """In the order of `targets`: words with which a token begins, then those that were cut off."""
        if not self.tagged:
            return None
        words = self.words(index)
        begun, tagged = words[words >= 0], (self.labels[index] != NO_TAG).nonzero().flatten()
        if not len(begun):
            return tagged
        return torch.cat([begun, tagged[(tagged < begun.min()) | (tagged > begun.max())]])

    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tokens, None]:
        """values (B, L, 2)."""
        rows = padded(self._rows(torch.as_tensor(index)))
        return rows._replace(values=rows.values[:, :, :2].long()), None

    def targets(self, index: Tensor) -> Tensor:
        """Of tags (B, L + K), for the tokens with which words begin, then for the words that were cut off."""
        if not self.tagged:
            return self.labels[index]
        rows, of_words = padded(self._rows(index)), self.labels[index]
        words = rows.values[:, :, 2].long().masked_fill(~rows.mask, NO_WORD)
        tags = of_words.gather(1, words.clamp(min=0)).masked_fill(words == NO_WORD, NO_TAG)
        place, further = torch.arange(of_words.shape[1]), words.masked_fill(words == NO_WORD, of_words.shape[1])
        cut = (place < further.amin(1, keepdim=True)) | (place > words.amax(1, keepdim=True))  # at either end
        beyond = [own[out] for own, out in zip(of_words, cut & (of_words != NO_TAG), strict=True)]
        return torch.cat([tags, pad_sequence(beyond, batch_first=True, padding_value=NO_TAG)], dim=1)

    def _rows(self, index: Tensor) -> list[Tensor]:
        return rows_at(self.flat, self.starts, index, (COLUMNS,))

    def _content(self) -> str:
        digest = hashlib.blake2b(self.starts.numpy().data, digest_size=16)
        digest.update(self.flat.numpy().data)
        return digest.hexdigest()


class Tokenizer:
    """Of a backbone. words: whether texts come as words, as tagged ones do.

    Raises ConfigError where the tokenizer is not there, or cannot say where words begin.
    """

    def __init__(self, spec: TextSpec, *, words: bool) -> None:
        self.spec = spec
        self.words = words
        self._tokenizer = _loaded(spec)
        said = self._tokenizer.backend_tokenizer.to_str()  # before it works: then it says how it cut the last texts
        beside = [self._tokenizer.truncation_side, self._tokenizer.split_special_tokens]  # of which it says nothing
        self._digest = hashlib.blake2b(f"{said} {beside}".encode(), digest_size=16).hexdigest()
        self._marks_blanks = "ByteLevel" in json.dumps(json.loads(said)["pre_tokenizer"])

    @property
    def parts_pairs(self) -> bool:
        """Whether something stands between the two texts of a pair, by which a network can tell where one ends."""
        alone, both = (self._tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
        return bool(both > alone)

    def rows(self, texts: Samples) -> list[Tensor]:
        """On all cores. texts: of each sample one or two, or its words."""
        return self._rows(texts)[0]

    def windows(self, texts: Samples) -> tuple[list[Tensor], list[int]]:
        """Rows of texts that are longer than the backbone takes, and of which text each is: a quarter of a window is in
        the next one, too. Raises ConfigError for pairs."""
        if not self.words and texts and len(texts[0]) > 1:
            raise ConfigError(
                "windows need single texts, but these are pairs", where="windows", next_step="windows=false"
            )
        return self._rows(texts, return_overflowing_tokens=True, stride=self.spec.max_length // OVERLAP)

    def _rows(self, texts: Samples, **more: Any) -> tuple[list[Tensor], list[int]]:
        if not texts:
            return [], []
        said: dict[str, Any] = {"truncation": True, "max_length": self.spec.max_length, "return_token_type_ids": True}
        said |= more
        if self.words:
            found = self._tokenizer([self._spaced(words) for words in texts], is_split_into_words=True, **said)
        else:
            columns = [list(column) for column in zip(*texts, strict=True)]
            found = self._tokenizer(*columns, **said)
        owners = found["overflow_to_sample_mapping"] if more else range(len(texts))
        return [self._row(encoding) for encoding in found.encodings], [*owners]

    def _spaced(self, words: Sequence[str]) -> list[str]:
        """As a sentence has them: byte-level tokenizers tell by the blank before a word that it begins."""
        return [*words[:1], *(f" {word}" if self._marks_blanks else word for word in words[1:])]

    def _row(self, encoding: Any) -> Tensor:
        words = _beginnings(encoding.word_ids) if self.words else [NO_WORD] * len(encoding.ids)
        return torch.tensor([encoding.ids, encoding.type_ids, words], dtype=torch.int32).T.contiguous()

    def source(self, texts: Texts | TaggedTexts, name: str, cache: SampleCache) -> TokenSource:
        """name: of the data, for people. Raises DataError where a text has no token."""
        require_bounded(texts.strings, texts.where)
        made = self._source(texts, name, cache)
        made.require_tokens(texts.where)
        return made

    def _source(self, texts: Texts | TaggedTexts, name: str, cache: SampleCache) -> TokenSource:
        labels = (
            texts.labels
            if isinstance(texts, Texts)
            else pad_sequence([torch.tensor(tags) for tags in texts.labels], batch_first=True, padding_value=NO_TAG)
        )
        if cache.store is not None:
            said = {"tokenizer": self.spec.tokenizer, "data": name, "rows": len(texts)}
            try:
                entry = self._kept(texts.strings, self._key(texts.content), said, cache.store)
                assert entry.starts is not None
                return TokenSource(
                    entry.flat, entry.starts, labels, tagged=self.words, entry=entry, places=texts.places
                )
            except OSError as error:
                cache.give_up("tokens", error)
        return TokenSource.of(self.rows(texts.strings), labels, tagged=self.words, places=texts.places)

    def _kept(self, texts: Samples, key: str, said: dict[str, Any], store: Store) -> Entry:
        found: list[Tensor] = []

        def rows() -> list[Tensor]:
            found.extend([] if found else self.rows(texts))
            return found

        entry = store.ragged(key, lambda: torch.tensor([row.numel() for row in rows()]), said, torch.int32)
        entry.fill(lambda places: torch.cat([rows()[place].view(-1) for place in places]))
        return entry

    def _key(self, content: str) -> str:
        return key_of(
            {
                "texts": content,
                "tokenizer": self._digest,
                "max_length": self.spec.max_length,
                "words": self.words,
                "rows": LAYOUT,
                "found by": [metadata.version(name) for name in ("tokenizers", "transformers")],
            }
        )


def too_long(samples: Samples) -> set[int]:
    return {place for place, strings in enumerate(samples) if sum(map(len, strings)) > MOST_CHARACTERS}


def require_bounded(samples: Samples, where: Callable[[int], str]) -> None:
    """where: of each sample, for people. Raises DataError for those that are too long."""
    if places := sorted(too_long(samples)):
        step = "cut it into several texts; a quote that is never closed makes one text of many lines"
        raise together(
            [DataError(TOO_LONG, where=where(place), next_step=step) for place in places], "texts are too long"
        )


def _beginnings(words: Sequence[int | None]) -> list[int]:
    """The word that begins with each token."""
    before: int | None = None
    found = []
    for word in words:
        found.append(NO_WORD if word is None or word == before else word)
        before = word
    return found


def _loaded(spec: TextSpec) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(spec.tokenizer, trust_remote_code=spec.remote_code)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ConfigError(
            f"the tokenizer cannot be loaded: {first_line(error)}",
            where=spec.tokenizer,
            next_step="model.weights=<folder with config.json, model.safetensors and tokenizer.json>, or another "
            "model; a run that is trained needs it where it was",
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(
            "this tokenizer has no fast version, and only those locate words",
            where=spec.tokenizer,
            next_step="put a tokenizer.json beside the weights, or choose another model",
        )
    return tokenizer
