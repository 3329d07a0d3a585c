"""Tokens of texts: found once, and those that the tokenizer finds in the text as it stands."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datasets_made import data as data_of
from frostline.contracts.specs import TextSpec
from frostline.contracts.targets import NO_TAG
from frostline.data.sample_cache import NOWHERE, SampleCache
from frostline.data.target_types.tags import Tags
from frostline.data.texts.readers import TextCsv
from frostline.data.texts.strings import Places, Samples, TaggedTexts, Texts
from frostline.data.texts.tokenized import Tokenizer, TokenSource
from frostline.errors import DataError
from frostline.storage.store import Store
from tiny_text import make_tokenizer

SENTENCE = "london is big and london is old"


def texts(*found: str) -> Texts:
    places = Places("mine.csv", list(range(2, 2 + len(found))), "line")
    return Texts([(text,) for text in found], torch.zeros(len(found), dtype=torch.int64), places)


def byte_level(folder: Path, *, within_another: bool) -> TextSpec:
    """A tokenizer as GPT-2's, or as Llama 3's."""
    from tokenizers import Regex, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Made
    from transformers import PreTrainedTokenizerFast

    made = Made(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if within_another:
        split = pre_tokenizers.Split(Regex(r" ?\w+|\s+"), "isolated")
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    learn = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([SENTENCE] * 20, learn)
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="!").save_pretrained(folder)
    return TextSpec(str(folder), 64)


def test_a_later_run_finds_the_tokens_of_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TextSpec(str(make_tokenizer(tmp_path / "tokenizer")), 64)
    parts = [texts("aa ab", "ba"), texts("ca cb cc"), texts("da")]

    def run() -> list[TokenSource]:
        tokenizer, cache = Tokenizer(spec, words=False), SampleCache(Store(tmp_path / "store", 10**9, "tokens"))
        return [tokenizer.source(part, "mine", cache) for part in parts]

    first = run()

    def never(self: Tokenizer, texts: Samples) -> list[Tensor]:
        raise AssertionError(f"{texts} is tokenised again")

    monkeypatch.setattr(Tokenizer, "rows", never)
    for before, after in zip(first, run(), strict=True):
        assert torch.equal(before.flat, after.flat)
        assert torch.equal(before.starts, after.starts)


@pytest.mark.parametrize("setting", [{"truncation_side": "left"}, {"split_special_tokens": True}])
def test_what_was_kept_is_not_taken_for_that_of_other_settings(setting: dict[str, Any], tmp_path: Path) -> None:
    folder = make_tokenizer(tmp_path / "tokenizer")
    part = texts("aa ab [PAD] ac ad ae af ag")

    def found() -> Tensor:
        cache = SampleCache(Store(tmp_path / "store", 10**9, "tokens"))
        return Tokenizer(TextSpec(str(folder), 8), words=False).source(part, "mine", cache).flat.clone()

    before, file = found(), folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    assert not torch.equal(found(), before)


@pytest.mark.parametrize("within_another", [False, True])
def test_words_are_the_tokens_that_they_are_in_their_sentence(within_another: bool, tmp_path: Path) -> None:
    spec = byte_level(tmp_path, within_another=within_another)
    (whole,) = Tokenizer(spec, words=False).rows([[SENTENCE]])
    (words,) = Tokenizer(spec, words=True).rows([SENTENCE.split()])
    assert words[:, 0].tolist() == whole[:, 0].tolist()
    assert words[:, 2].tolist() == list(range(7))  # each is one token in the sentence


def test_tags_of_words_that_were_cut_off_come_after_those_of_tokens(tmp_path: Path) -> None:
    """[CLS], four pieces at most, [SEP]: `aaa` is two of them."""
    spec = TextSpec(str(make_tokenizer(tmp_path / "tokenizer")), 6)
    words = [["aa", "aaa", "bb", "cc", "dd"], ["aa"], ["aa", "bb", "cc", "dd", "ee"]]
    tags = [[1, 2, 3, 4, 5], [1], [5, 4, 3, 2, 1]]
    texts = TaggedTexts(words, tags, Places("mine.conll", [1, 2, 3], "line"))
    source = Tokenizer(spec, words=True).source(texts, "mine", NOWHERE)
    no = NO_TAG
    assert source.targets(torch.tensor([0, 1])).tolist() == [[no, 1, 2, no, 3, no, 4, 5], [no, 1, *[no] * 6]]
    assert source.targets(torch.tensor([2, 1])).tolist() == [[no, 5, 4, 3, 2, no, 1], [no, 1, *[no] * 5]]
    assert source.targets(torch.tensor([1])).tolist() == [[no, 1, no]]
    settings = tmp_path / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncation_side": "left"}))
    source = Tokenizer(spec, words=True).source(texts, "mine", NOWHERE)
    assert source.targets(torch.tensor([2])).tolist() == [[no, 4, 3, 2, 1, no, 5]]


def test_texts_and_what_is_said_of_them_are_in_the_fingerprint(tmp_path: Path) -> None:
    tokenizer, place = Tokenizer(TextSpec(str(make_tokenizer(tmp_path)), 64), words=True), Places("x", [1, 2], "line")

    def fingerprint(words: list[list[str]], tags: list[list[int]]) -> str:
        return tokenizer.source(TaggedTexts(words, tags, place), "mine", NOWHERE).fingerprint(Tags())

    words = [["aa", "ab"], ["ac"]]
    made = [
        fingerprint(words, [[0, 1], [2]]),
        fingerprint(words, [[0, 1], [0]]),
        fingerprint(words[::-1], [[2], [0, 1]]),
    ]
    assert len(set(made)) == 3
    assert fingerprint(words, [[0, 1], [2]]) == made[0]


def test_of_pairs_that_run_together_the_user_is_told(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("text,more,label\n" + "".join(f"aa,a{place % 9}b,{place % 2}\n" for place in range(20)))
    settings = {"val_file": None, "test_file": None, "target_columns": ["label"], "separator": None, "source": None}
    settings |= {"batch_tokens": None, "max_length": None, "batch_size": 4, "train_limit": None, "val_fraction": 0.2}

    def notes(spec: TextSpec, columns: list[str]) -> list[str]:
        more: dict[str, Any] = {
            "test_fraction": 0.2,
            "split_seed": 0,
            "seed": 0,
            "class_names": None,
            "quotes": None,
            "dir": None,
        }
        found = data_of(TextCsv, spec, train_file=str(table), text_columns=columns, **settings, **more).notes()
        return [note for note in found if "cannot tell where one ends" in note]

    runs_on = byte_level(tmp_path / "bytes", within_another=False)
    apart = TextSpec(str(make_tokenizer(tmp_path / "tokenizer")), 64)
    assert len(notes(runs_on, ["text", "more"])) == 1
    assert notes(runs_on, ["more"]) == notes(apart, ["text", "more"]) == []


def test_a_text_without_tokens_is_named(tmp_path: Path) -> None:
    spec = byte_level(tmp_path, within_another=False)
    drop_controls(tmp_path)
    with pytest.raises(DataError, match="finds no token in this text, nor in 1 more") as refused:
        Tokenizer(spec, words=False).source(texts("london", "\u200b", "\u200b\u200b"), "mine", NOWHERE)
    assert refused.value.where == "mine.csv, line 3"


def drop_controls(folder: Path) -> None:
    from tokenizers import Tokenizer as Made
    from tokenizers import normalizers

    made = Made.from_file(str(folder / "tokenizer.json"))
    made.normalizer = normalizers.Replace("\u200b", "")
    made.save(str(folder / "tokenizer.json"))
