"""Heads: shapes, what lies where, and that dropout does what its place says."""

import pytest
import torch
from torch import nn

from frostline.contracts.features import Features, vector
from frostline.heads.embedding import EmbeddingHead
from frostline.heads.vector import ACTIVATIONS, LinearHead, MlpHead


def anatomy(head: LinearHead | MlpHead) -> list[tuple[type, object]]:
    def says(layer: nn.Module) -> object:
        if isinstance(layer, nn.Linear):
            return layer.in_features, layer.out_features
        return layer.p if isinstance(layer, nn.Dropout) else None

    return [(type(layer), says(layer)) for layer in head.layers]


@pytest.mark.parametrize(
    "head",
    [
        LinearHead(vector(7), 3, dropout=0.1),
        MlpHead(vector(7), 3, hidden=[], activation="relu", dropout=0.1),
        MlpHead(vector(7), 3, hidden=[5], activation="gelu", dropout=0.0),
        MlpHead(vector(7), 3, hidden=[5, 4], activation="silu", dropout=0.5),
    ],
)
def test_features_become_logits(head: nn.Module) -> None:
    assert head(torch.randn(4, 7)).shape == (4, 3)


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (LinearHead(vector(7), 3, dropout=0.0), (4, 7)),
        (LinearHead(vector(7), 3, dropout=0.0), (4, 6, 7)),
        (LinearHead(Features("map", (7,), strides=(8,)), 3, dropout=0.0), (4, 7, 2, 2)),
        (MlpHead(vector(7), 3, hidden=[5, 4], activation="gelu", dropout=0.0), (4, 7)),
        (EmbeddingHead(vector(7), 3, dimension=5, batch_norm=True), (4, 7)),
    ],
)
def test_a_head_computes_in_float32_whatever_the_network_does(head: nn.Module, shape: tuple[int, ...]) -> None:
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = head(given)
    assert outputs.dtype == torch.float32
    assert torch.equal(outputs, head(given.float()))


def test_a_linear_head_drops_features_and_then_multiplies() -> None:
    assert anatomy(LinearHead(vector(7), 3, dropout=0.25)) == [(nn.Dropout, 0.25), (nn.Linear, (7, 3))]


def test_an_mlp_of_512_is_the_head_of_the_tutorials() -> None:
    head = MlpHead(vector(2048), 10, hidden=[512], activation="relu", dropout=0.2)
    assert anatomy(head) == [(nn.Linear, (2048, 512)), (nn.ReLU, None), (nn.Dropout, 0.2), (nn.Linear, (512, 10))]
    assert sum(p.numel() for p in head.parameters()) == 2048 * 512 + 512 + 512 * 10 + 10


def test_a_deeper_mlp_has_an_activation_and_a_dropout_after_each_hidden_layer() -> None:
    hidden = [(nn.Tanh, None), (nn.Dropout, 0.1)]
    assert anatomy(MlpHead(vector(7), 3, hidden=[6, 5], activation="tanh", dropout=0.1)) == [
        (nn.Linear, (7, 6)), *hidden, (nn.Linear, (6, 5)), *hidden, (nn.Linear, (5, 3)),
    ]  # fmt: skip


def test_an_mlp_without_hidden_layers_is_linear() -> None:
    assert anatomy(MlpHead(vector(7), 3, hidden=[], activation="relu", dropout=0.1)) == [(nn.Linear, (7, 3))]


@pytest.mark.parametrize(
    ("name", "function"),
    [("relu", torch.relu), ("gelu", nn.functional.gelu), ("silu", nn.functional.silu), ("tanh", torch.tanh)],
)
def test_an_mlp_is_the_two_products_written_out(name: str, function: object) -> None:
    head = MlpHead(vector(7), 3, hidden=[5], activation=name, dropout=0.5).eval()  # type: ignore[arg-type]
    first, last, x = head.layers[0], head.layers[-1], torch.randn(4, 7)
    hidden = function(x @ first.weight.T + first.bias)  # type: ignore[operator]
    torch.testing.assert_close(head(x), hidden @ last.weight.T + last.bias)  # type: ignore[operator]


def test_every_activation_of_the_signature_exists() -> None:
    assert set(ACTIVATIONS) == {"relu", "gelu", "silu", "tanh"}


def test_while_training_a_share_of_the_features_is_dropped_and_the_rest_made_larger() -> None:
    torch.manual_seed(0)
    head = LinearHead(vector(2000), 2000, dropout=0.2)
    with torch.no_grad():
        head.layers[1].weight.copy_(torch.eye(2000))
        head.layers[1].bias.zero_()
    seen = head(torch.ones(1, 2000))
    assert sorted(set(seen.flatten().tolist())) == pytest.approx([0.0, 1.25])
    assert float((seen == 0).float().mean()) == pytest.approx(0.2, abs=0.05)
    assert torch.equal(head.eval()(torch.ones(1, 2000)), torch.ones(1, 2000))
