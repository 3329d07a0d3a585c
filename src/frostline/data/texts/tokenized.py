"""Tokenize texts once, and cache the tokens for later runs. Shapes: N texts; a row is (L, 3) int32: token id, segment
id, and the index of the word that begins at the token, or -1.
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

VERSION = 2  # version of the rows and of tokenizing; a part of the key, so that a new number invalidates the cache
COLUMNS = 3
NO_WORD = -1
MOST_CHARACTERS = 5_000_000  # per text; a tokenizer needs about 150 bytes for each
TOO_LONG = f"a text of more than {MOST_CHARACTERS:,} characters, whose tokens may not fit into memory"
DROP = "drop it, or repair it"
OVERLAP = 4  # a window repeats 1/4 of the previous one


class TokenSource(Source):
    """flat: all rows in sequence. starts: (N + 1,) offsets of the rows in `flat`. labels: see `Source`. tagged: whether
    there is a label per word. entry: the cache entry that `flat` maps, if any. places: of the texts, for messages.
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
        self.entry = entry  # a reference keeps the store from removing it
        self.places = places
        self.lengths = starts.diff() // COLUMNS
        self.excerpts: dict[int, str] = {}  # beginnings of texts that are shown, by index
        self.strings: str | None = None  # `Strings.content`, if the texts are known

    @classmethod
    def of(
        cls, rows: Sequence[Tensor], labels: Tensor, *, tagged: bool = False, places: Places | None = None
    ) -> "TokenSource":
        """rows: (L, 3) of each text."""
        lengths = torch.tensor([0, *(row.numel() for row in rows)])
        flat = torch.cat([row.reshape(-1) for row in rows])
        return cls(flat, lengths.cumsum(0), labels, tagged=tagged, places=places)

    def require_tokens(self, where: Callable[[int], str]) -> None:
        """Raises DataError if a text has no token. where: location of a text by its index, for the message."""
        empty = self.empty()
        if empty:
            more = f", nor in {len(empty) - 1:,} more" if len(empty) > 1 else ""
            raise DataError(f"the tokenizer finds no token in this text{more}", where=where(empty[0]), next_step=DROP)

    def empty(self) -> list[int]:
        """Indices of texts without a token."""
        return [place for place, length in enumerate(self.starts.diff().tolist()) if length == 0]

    def words_lost(self) -> int:
        """Number of tagged words that begin at no token: they were cut off, or have none."""
        begin = int((self.flat.view(-1, COLUMNS)[:, 2] >= 0).sum())
        return int((self.labels != NO_TAG).sum()) - begin if self.tagged else 0

    def words(self, place: int) -> Tensor:
        """(L,) index of the word that begins at each token of a text, or -1."""
        return self._rows(torch.tensor([place]))[0][:, 2].long()

    def name_of(self, index: int) -> str:
        return super().name_of(index) if self.places is None else self.places.where(index)

    def shown(self, index: int) -> str | None:
        return self.excerpts.get(index)

    def words_of(self, index: int) -> Tensor | None:
        """Words in the order of `targets`: those that begin at a token, then those that were cut off."""
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
        """Labels of the texts; tags are (B, L + K), at the L tokens where words begin, then of up to K words that were
        cut off."""
        if not self.tagged:
            return self.labels[index]
        rows, of_words = padded(self._rows(index)), self.labels[index]
        words = rows.values[:, :, 2].long().masked_fill(~rows.mask, NO_WORD)
        tags = of_words.gather(1, words.clamp(min=0)).masked_fill(words == NO_WORD, NO_TAG)
        place, further = torch.arange(of_words.shape[1]), words.masked_fill(words == NO_WORD, of_words.shape[1])
        cut = (place < further.amin(1, keepdim=True)) | (place > words.amax(1, keepdim=True))  # cut off at either end
        beyond = [own[out] for own, out in zip(of_words, cut & (of_words != NO_TAG), strict=True)]
        return torch.cat([tags, pad_sequence(beyond, batch_first=True, padding_value=NO_TAG)], dim=1)

    def _rows(self, index: Tensor) -> list[Tensor]:
        return rows_at(self.flat, self.starts, index, (COLUMNS,))

    @property
    def as_found(self) -> str:
        return self.strings or self.content

    def digests(self, index: Tensor) -> list[bytes]:
        return [hashlib.blake2b(row.numpy().data, digest_size=16).digest() for row in self._rows(index)]

    def _content(self) -> str:
        digest = hashlib.blake2b(self.starts.numpy().data, digest_size=16)
        digest.update(self.flat.numpy().data)
        return digest.hexdigest()


class Tokenizer:
    """The tokenizer of a backbone. words: whether texts come as lists of words, as tagged texts do.

    Raises ConfigError if the tokenizer cannot be loaded, or cannot locate words.
    """

    def __init__(self, spec: TextSpec, *, words: bool) -> None:
        self.spec = spec
        self.words = words
        self._tokenizer = _loaded(spec)
        text = self._tokenizer.backend_tokenizer.to_str()  # before the first call, which adds its truncation to it
        beside = [self._tokenizer.truncation_side, self._tokenizer.split_special_tokens]  # are not in `text`
        self._digest = hashlib.blake2b(f"{text} {beside}".encode(), digest_size=16).hexdigest()
        self._marks_blanks = "ByteLevel" in json.dumps(json.loads(text)["pre_tokenizer"])

    @property
    def parts_pairs(self) -> bool:
        """Whether a special token separates the two texts of a pair, so that a network can tell where one ends."""
        alone, both = (self._tokenizer.num_special_tokens_to_add(pair=pair) for pair in (False, True))
        return bool(both > alone)

    def rows(self, texts: Samples) -> list[Tensor]:
        """Tokenize on all cores, truncated to `max_length`: (L, 3) per text."""
        return self._rows(texts)[0]

    def encoding(self, texts: Sequence[str]) -> Any:
        """What the library found in a text or pair: offsets, words and texts of its tokens, as in its row."""
        found = self._tokenizer(*[[text] for text in texts], truncation=True, max_length=self.spec.max_length)
        return found.encodings[0]

    @property
    def padding(self) -> int:
        """The id of padding, or of the end of a text if there is none."""
        ends = (self._tokenizer.pad_token_id, self._tokenizer.eos_token_id, 0)
        return next(token for token in ends if token is not None)

    def windows(self, texts: Samples) -> tuple[list[Tensor], list[int]]:
        """Tokenize texts of any length into windows that overlap by a quarter. Return rows, and the index of each row's
        text. Raises ConfigError for pairs."""
        if not self.words and texts and len(texts[0]) > 1:
            raise ConfigError(
                "windows need single texts, but these are pairs", where="data.windows", next_step="data.windows=false"
            )
        return self._rows(texts, return_overflowing_tokens=True, stride=self.spec.max_length // OVERLAP)

    def _rows(self, texts: Samples, **more: Any) -> tuple[list[Tensor], list[int]]:
        if not texts:
            return [], []
        length = self.spec.max_length
        given: dict[str, Any] = {"truncation": True, "max_length": length, "return_token_type_ids": True, **more}
        if self.words:
            found = self._tokenizer([self._spaced(words) for words in texts], is_split_into_words=True, **given)
        else:
            columns = [list(column) for column in zip(*texts, strict=True)]
            found = self._tokenizer(*columns, **given)
        owners = found["overflow_to_sample_mapping"] if more else range(len(texts))
        return [self._row(encoding) for encoding in found.encodings], [*owners]

    def _spaced(self, words: Sequence[str]) -> list[str]:
        """Put blanks before words, as in a sentence: byte-level tokenizers encode the blank with the word."""
        return [*words[:1], *(f" {word}" if self._marks_blanks else word for word in words[1:])]

    def _row(self, encoding: Any) -> Tensor:
        words = _beginnings(encoding.word_ids) if self.words else [NO_WORD] * len(encoding.ids)
        return torch.tensor([encoding.ids, encoding.type_ids, words], dtype=torch.int32).T.contiguous()

    def source(self, texts: Texts | TaggedTexts, name: str, cache: SampleCache) -> TokenSource:
        """Tokenize the texts of a split, or read their tokens from the cache. name: of the data, recorded in the entry.
        Raises DataError if a text has no token, or is too long."""
        require_bounded(texts.strings, texts.where)
        made = self._source(texts, name, cache)
        made.require_tokens(texts.where)
        made.strings = texts.content
        return made

    def _source(self, texts: Texts | TaggedTexts, name: str, cache: SampleCache) -> TokenSource:
        labels = (
            texts.labels
            if isinstance(texts, Texts)
            else pad_sequence([torch.tensor(tags) for tags in texts.labels], batch_first=True, padding_value=NO_TAG)
        )
        if cache.store is not None:
            about = {"tokenizer": self.spec.tokenizer, "data": name, "rows": len(texts)}
            try:
                entry = self._kept(texts.strings, self._key(texts.content), about, cache.store)
                assert entry.starts is not None
                return TokenSource(
                    entry.flat, entry.starts, labels, tagged=self.words, entry=entry, places=texts.places
                )
            except OSError as error:
                cache.give_up("tokens", error)
        return TokenSource.of(self.rows(texts.strings), labels, tagged=self.words, places=texts.places)

    def _kept(self, texts: Samples, key: str, about: dict[str, Any], store: Store) -> Entry:
        found: list[Tensor] = []

        def rows() -> list[Tensor]:
            found.extend([] if found else self.rows(texts))
            return found

        entry = store.ragged(key, lambda: torch.tensor([row.numel() for row in rows()]), about, torch.int32)
        entry.fill(lambda places: torch.cat([rows()[place].view(-1) for place in places]))
        return entry

    def _key(self, content: str) -> str:
        return key_of(
            {
                "texts": content,
                "tokenizer": self._digest,
                "max_length": self.spec.max_length,
                "words": self.words,
                "rows": VERSION,
                "found by": [metadata.version(name) for name in ("tokenizers", "transformers")],
            }
        )


def too_long(samples: Samples) -> set[int]:
    return {place for place, strings in enumerate(samples) if sum(map(len, strings)) > MOST_CHARACTERS}


def require_bounded(samples: Samples, where: Callable[[int], str]) -> None:
    """Raises DataError that names samples of more than MOST_CHARACTERS. where: location of a sample by its index."""
    if places := sorted(too_long(samples)):
        step = "cut it into several texts; a quote that is never closed makes one text of many lines"
        raise together(
            [DataError(TOO_LONG, where=where(place), next_step=step) for place in places], "texts are too long"
        )


def _beginnings(words: Sequence[int | None]) -> list[int]:
    """The index of the word that begins at each token, or NO_WORD. words: of each token, None for special ones."""
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
            "model; a trained run needs its tokenizer where it was in training",
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(
            "this tokenizer has no fast version, but only fast ones locate words",
            where=spec.tokenizer,
            next_step="put a tokenizer.json beside the weights, or choose another model",
        )
    return tokenizer
