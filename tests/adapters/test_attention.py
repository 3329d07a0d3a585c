"""Attention with projections that are called, against torch's own."""

import pytest
import torch
from torch import Tensor, nn

from frostline.adapters.attention import SelfAttention, closed, opened


def attention(dropout: float = 0.0, bias: bool = True) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    it = nn.MultiheadAttention(12, 3, dropout, bias=bias, batch_first=True)
    with torch.no_grad():
        for parameter in it.parameters():
            parameter.normal_(0, 0.3)
    return it


def tokens() -> Tensor:
    return torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_it_gives_what_torchs_own_gives_and_the_same_gradients(training: bool, bias: bool) -> None:
    theirs, x = attention(bias=bias).train(training), tokens()
    expected, _ = theirs(x, x, x, need_weights=False)
    expected.square().sum().backward()
    gradients = [parameter.grad for parameter in theirs.parameters()]
    ours = SelfAttention(attention(bias=bias).train(training))
    given, weights = ours(x, x, x, need_weights=False)
    given.square().sum().backward()
    torch.testing.assert_close(given, expected)
    assert weights is None
    assert len(gradients) == (4 if bias else 2)
    for own, gradient in zip(ours.parameters(), gradients, strict=True):
        torch.testing.assert_close(own.grad, gradient)


def test_dropout_acts_while_it_trains_and_never_else() -> None:
    it, x = SelfAttention(attention(0.5)), tokens()
    assert not torch.equal(it(x, x, x, need_weights=False)[0], it(x, x, x, need_weights=False)[0])
    it.eval()
    assert torch.equal(it(x, x, x, need_weights=False)[0], it(x, x, x, need_weights=False)[0])


def test_it_attends_to_nothing_but_its_own_input() -> None:
    it, x = SelfAttention(attention()), tokens()
    with pytest.raises(ValueError, match="one tensor as query, key and value"):
        it(x, x.clone(), x, need_weights=False)
    with pytest.raises(ValueError, match="no attention weights"):
        it(x, x, x, need_weights=True)


@pytest.mark.parametrize("bias", [True, False])
def test_opened_and_closed_again_it_is_what_it_was(bias: bool) -> None:
    block = nn.Sequential(nn.LayerNorm(12), attention(bias=bias)).eval()
    before = {name: value.clone() for name, value in block.state_dict().items()}
    text = str(block)
    inner = opened(block)[1]
    assert isinstance(inner, SelfAttention)
    assert not inner.in_proj.training
    again = closed(inner)
    assert str(nn.Sequential(block[0], again)) == text
    assert not again.training
    assert {f"1.{name}": value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in before.items() if name.startswith("1.")
    }
    assert all(torch.equal(value, before[f"1.{name}"]) for name, value in again.state_dict().items())


def test_an_attention_that_is_another_sum_stays_as_it_is() -> None:
    others = [
        nn.MultiheadAttention(12, 3),
        nn.MultiheadAttention(12, 3, kdim=4, vdim=4, batch_first=True),
        nn.MultiheadAttention(12, 3, add_bias_kv=True, batch_first=True),
        nn.MultiheadAttention(12, 3, add_zero_attn=True, batch_first=True),
    ]
    assert all(type(opened(it)) is nn.MultiheadAttention for it in others)
