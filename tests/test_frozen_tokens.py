"""Frozen blocks of text backbones: what they give for a text depends on that text alone, to the last bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frostline.contracts.tokens import Tokens, padded
from frostline.frozen.blocks import FrozenPass, outputs_of, texts_of, to_rows
from tiny_text import VOCABULARY, TinyText

CPU = torch.device("cpu")


def backbone() -> TinyText:
    torch.manual_seed(0)
    made = TinyText(weights="nowhere")
    made.eval()
    return made


def text(length: int, seed: int) -> Tensor:
    ids = torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed))
    return torch.stack([ids, torch.zeros_like(ids)], 1)


def batch(lengths: list[int]) -> Tokens:
    return padded([text(length, number) for number, length in enumerate(lengths)])


@pytest.mark.parametrize("low", [None, torch.bfloat16])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_text_gives_the_same_bits_in_any_company(low: torch.dtype | None, stop: int) -> None:
    work = FrozenPass(backbone(), low)
    lengths = [3, 64, 17, 8, 9, 1, 33, 64, 5]
    together = work(batch(lengths), 0, stop)
    for number, length in enumerate(lengths):
        alone = work(padded([text(length, number)]), 0, stop)
        if isinstance(alone, Tokens):
            assert isinstance(together, Tokens)
            assert torch.equal(alone.values[0], together.values[number, :length])
            assert not together.values[number, length:].any()
        else:
            assert isinstance(together, Tensor)
            assert torch.equal(alone[0], together[number])


@settings(max_examples=20)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=80), st.integers(1, 2))
def test_outputs_on_the_way_lead_to_the_same_end(lengths: list[int], line: int) -> None:
    work = FrozenPass(backbone())
    halfway = work(batch(lengths), 0, line)
    assert torch.equal(work(halfway, line, 3), work(batch(lengths), 0, 3))


def test_it_gives_what_the_blocks_give() -> None:
    network = backbone()
    lengths = [12, 7, 40]
    with torch.no_grad():
        expected = network(batch(lengths))
    torch.testing.assert_close(FrozenPass(network)(batch(lengths), 0, 3), expected)
    torch.testing.assert_close(
        FrozenPass(network, torch.bfloat16)(batch(lengths), 0, 3).float(), expected, rtol=0.05, atol=0.05
    )


def test_texts_at_the_end_of_the_positions_fit() -> None:
    network = backbone()
    network.spec = network.spec.at(50)  # widths go in steps, and there is no place for a 56th token
    network.blocks["embeddings"].places = torch.nn.Embedding(50, 16)
    assert FrozenPass(network)(batch([50, 49, 2]), 0, 3).shape == (3, 16)


def test_outputs_are_told_as_they_come() -> None:
    network = backbone()
    sample = padded([text(20, 0)])
    told = outputs_of(network, sample, torch.bfloat16)
    assert [(output.row, output.tokens) for output in told] == [((2,), 20), ((16,), 20), ((16,), 20), ((16,), None)]
    work = FrozenPass(network, torch.bfloat16)
    for line in (1, 2, 3):
        rows = to_rows(work(sample, 0, line), told[line])
        assert (rows.numel(), rows.dtype) == (told[line].numbers, told[line].dtype)


def test_chunks_fit_into_each_other() -> None:
    sizes = [texts_of(width, CPU) for width in range(8, 2048)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(32 % size == 0 for size in sizes)
