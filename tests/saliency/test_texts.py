"""Shares of words: they add up to what the text adds to the score of padding, and find the word that decides."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from frostline.contracts.features import vector
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.contracts.tokens import Tokens
from frostline.data.texts.spans import padded_out, spans_of
from frostline.data.texts.tokenized import Tokenizer
from frostline.errors import ConfigError
from frostline.heads.vector import LinearHead
from frostline.pages.explained import explained_page
from frostline.saliency.look import Word
from frostline.saliency.texts import MOST_ERROR, STEPS, shares
from tiny_text import VOCABULARY, WIDTH, TinyText, make_tokenizer

PADDING, DECIDES, LENGTH = 0, (50, 60), 9
Made = tuple[TinyText, nn.Module]


def evidence(outputs: Tensor) -> Tensor:
    return outputs - outputs.mean(-1, keepdim=True)


def texts_of(number: int, seed: int) -> tuple[Tokens, Tensor, Tensor]:
    """Random words, one of which decides the class; the classes; and where it stands."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(61, VOCABULARY, (number, LENGTH), generator=draw)
    classes, places = (torch.randint(most, (number,), generator=draw) for most in (2, LENGTH))
    ids[torch.arange(number), places] = torch.tensor(DECIDES)[classes]
    return (
        Tokens(torch.stack([ids, torch.zeros_like(ids)], -1), torch.ones_like(ids, dtype=torch.bool)),
        classes,
        places,
    )


@pytest.fixture(scope="module")
def learned() -> Made:
    torch.manual_seed(0)
    body, head = TinyText(weights="none"), LinearHead(vector(WIDTH), 2, dropout=0.0)
    network = nn.Sequential(body, head)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for step in range(100):
        texts, classes, _ = texts_of(64, step)
        optimizer.zero_grad()
        cross_entropy(network(texts), classes).backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    return body, head


def alone(texts: Tokens, place: int) -> Tokens:
    return Tokens(texts.values[place : place + 1], texts.mask[place : place + 1])


def test_the_word_that_decides_has_the_largest_share_and_all_shares_add_up(learned: Made) -> None:
    texts, classes, places = texts_of(30, 1000)
    right = 0
    for place in range(30):
        found = shares(*learned, evidence, alone(texts, place), torch.full((LENGTH,), PADDING))
        added = found.score - found.baseline
        assert abs(float(found.tokens.sum()) - added) <= MOST_ERROR * abs(added)
        assert found.error <= MOST_ERROR
        assert found.score == pytest.approx(float(evidence(found.outputs)[0, found.chosen]), abs=1e-5)
        right += found.chosen == classes[place] and int(found.tokens.argmax()) == places[place]
    assert right >= 27  # a word beside it may take a part in attention


def test_another_answer_has_other_shares_and_the_baseline_of_itself_none(learned: Made) -> None:
    text = alone(texts_of(1, 1)[0], 0)
    padding = torch.full((LENGTH,), PADDING)
    first, second = (shares(*learned, evidence, text, padding, chosen).tokens for chosen in (0, 1))
    assert torch.allclose(first, -second, atol=1e-4)  # two classes: what speaks for one speaks against the other
    same = shares(*learned, evidence, text, text.values[0, :, 0])
    assert same.error == float("inf")  # there is no difference to divide
    assert float(same.tokens.abs().max()) < 1e-6


def test_quick_shares_are_those_of_captum(learned: Made) -> None:
    texts, _, _ = texts_of(3, 8)
    for place in range(3):
        text = alone(texts, place)
        exact = shares(*learned, evidence, text, torch.full((LENGTH,), PADDING))
        quick = shares(*learned, evidence, text, torch.full((LENGTH,), PADDING), quick=True)
        assert quick.steps == STEPS[0]
        if exact.steps == quick.steps:
            torch.testing.assert_close(quick.tokens, exact.tokens, rtol=1e-4, atol=1e-5)
    assert exact.steps == STEPS[0], "one of them at least is compared"


def test_networks_of_pictures_are_refused(learned: Made) -> None:
    body = TinyText(weights="none")
    body.spec = ImageSpec(8, 8, (0.5,) * 3, (0.25,) * 3)
    with pytest.raises(ConfigError, match="pictures, not texts"):
        shares(body, learned[1], evidence, alone(texts_of(1, 1)[0], 0), torch.zeros(LENGTH, dtype=torch.long))


def test_padding_replaces_all_but_special_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer(TextSpec(str(make_tokenizer(tmp_path)), max_length=9), words=False)
    texts = ("aa  abcd", "bb cc dd ee")
    (row,) = tokenizer.rows([texts])
    spans = spans_of(tokenizer, texts)
    assert len(spans) == len(row) == 9
    named = [None if span is None else texts[span.text][span.start : span.end] for span in spans]
    assert [named[0], named[1], named[-1]] == [None, "aa", None]
    assert "bb" in named
    assert padded_out(row[:, 0], spans, tokenizer.padding).tolist() == [
        int(token) if name is None else 0 for token, name in zip(row[:, 0], named, strict=True)
    ]


def test_a_page_has_the_text_as_it_was_and_nothing_that_runs() -> None:
    text = "<script>alert(1)</script>\n & bad"
    page = explained_page({"text": text}, [Word(0, 1, 7, 0.5), Word(0, 27, 28, -1.0)], "<b>yes", "a & b")
    assert "<script" not in page
    assert "<b>" not in page
    assert '<mark style="--s: 0.500" title="+0.5000">script</mark>' in page.replace("&#34;", '"')
    assert page.count('class="against"') == 2  # of the legend, and of one word
