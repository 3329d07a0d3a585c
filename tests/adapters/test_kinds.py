"""Each kind of adapter: where it stands, that it changes nothing at its start, and what is refused."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapted import convolutions, moved, pictures, transformer
from frostline.adapters.kinds import Adapter, Dora, Ia3, Lora, NoAdapter
from frostline.adapters.layers import adapter_layers, adapter_names, adapter_parameters
from frostline.backbones.base import Backbone
from frostline.contracts.specs import TextSpec
from frostline.contracts.tokens import Tokens
from frostline.errors import ConfigError

Make = Callable[[], Backbone]


def lora(**settings: Any) -> Lora:
    return Lora(**{"rank": 4, "alpha": 8, "dropout": 0.0, "targets": None, "rslora": False} | settings)


def dora(**settings: Any) -> Dora:
    return Dora(**{"rank": 4, "alpha": 8, "dropout": 0.0, "targets": None} | settings)


def ia3(**settings: Any) -> Ia3:
    return Ia3(**{"targets": None, "feedforward": None} | settings)


def put(adapter: Adapter, make: Make) -> Backbone:
    backbone = make()
    adapter.put_into(backbone, list(backbone.blocks))
    return backbone


def adapted(backbone: Backbone) -> list[str]:
    return [name.removeprefix("blocks.") for name, _ in adapter_layers(backbone)]


@pytest.mark.parametrize("make", [transformer, convolutions])
@pytest.mark.parametrize("kind", [lora, dora, ia3])
def test_it_changes_no_output_before_it_learns_and_all_of_it_learns(kind: Callable[[], Adapter], make: Make) -> None:
    expected = make()(pictures())
    backbone = put(kind(), make)
    torch.testing.assert_close(backbone(pictures()), expected)
    assert not torch.allclose(moved(backbone)(pictures()), expected, rtol=1e-3)
    backbone(pictures()).square().sum().backward()
    without = [name for name, p in backbone.named_parameters() if name in adapter_names(backbone) and p.grad is None]
    assert without == []


ATTENTION, FEEDFORWARD = ["self_attention.in_proj", "self_attention.out_proj"], ["mlp.0", "mlp.3"]


@pytest.mark.parametrize("kind", [lora, dora])
def test_it_stands_beside_all_linear_layers_that_are_called(kind: Callable[[], Adapter]) -> None:
    inner = [f"layer{n}.{name}" for n in (0, 1) for name in ATTENTION + FEEDFORWARD]
    assert adapted(put(kind(), transformer)) == inner


@pytest.mark.parametrize("kind", [lora, dora, ia3])
def test_without_linear_layers_it_stands_beside_the_convolutions_that_peft_can_adapt(
    kind: Callable[[], Adapter],
) -> None:
    assert adapted(put(kind(), convolutions)) == ["stem.0", "middle.0", "top.2"]


def test_ia3_scales_keys_and_values_and_the_input_of_what_ends_a_feedforward_part() -> None:
    backbone = put(ia3(), transformer)
    assert adapted(backbone) == [f"layer{n}.{name}" for n in (0, 1) for name in ("self_attention.in_proj", "mlp.3")]
    sizes = [p.numel() for p in adapter_parameters(backbone)]
    assert sizes == [3 * 12, 24] * 2, "outputs of the projection, inputs of the last layer"


def test_rank_and_alpha_are_those_of_the_paper() -> None:
    for rslora, scale in ((False, 8 / 4), (True, 8 / 2)):
        backbone = moved(put(lora(targets=["mlp.0"], rslora=rslora), transformer))
        layer: Any = backbone.get_submodule("blocks.layer0.mlp.0")
        first, second = layer.lora_A.default.weight, layer.lora_B.default.weight
        assert (first.shape, second.shape) == ((4, 12), (24, 4))
        x = torch.randn(5, 12)
        torch.testing.assert_close(layer(x), layer.base_layer(x) + scale * x @ first.T @ second.T)


def test_dropout_acts_in_training_alone() -> None:
    backbone = moved(put(lora(dropout=0.5), transformer))
    assert torch.equal(backbone(pictures()), backbone(pictures()))
    backbone.train()
    assert not torch.equal(backbone(pictures()), backbone(pictures()))


def test_only_the_blocks_that_are_named_get_one() -> None:
    backbone = transformer()
    lora().put_into(backbone, ["layer1"])
    assert {name.split(".")[0] for name in adapted(backbone)} == {"layer1"}
    assert type(backbone.get_submodule("blocks.layer0.self_attention")) is nn.MultiheadAttention


@pytest.mark.parametrize("targets", [["mlp.0", "out_proj"], r".*\.(mlp\.0|self_attention\.out_proj)"])
def test_targets_are_ends_of_names_or_an_expression_for_the_whole_name(targets: Any) -> None:
    names = [f"layer{n}.{name}" for n in (0, 1) for name in ("self_attention.out_proj", "mlp.0")]
    assert adapted(put(lora(targets=targets), transformer)) == names


def test_of_ia3_the_targets_whose_input_is_scaled_can_be_named() -> None:
    backbone = put(ia3(targets=["mlp.0", "mlp.3"], feedforward=["mlp.0"]), transformer)
    assert [p.numel() for p in adapter_parameters(backbone)] == [12, 12] * 2


def test_none_is_none() -> None:
    assert adapted(put(NoAdapter(), transformer)) == []


# --- refused ---


@pytest.mark.parametrize(
    ("kind", "make", "message"),
    [
        (lora(targets=["proj"]), transformer, "no adaptable layer is called proj"),  # read, and not called
        (lora(targets=["mlp.0", "fc9"]), transformer, "is called fc9; .*: layer0.mlp.0, layer0.self_attention.in_proj"),
        (lora(targets=["top.0"]), convolutions, "is called top.0"),  # grouped
        (lora(targets=["top.1"]), convolutions, "is called top.1"),  # dilated
        (lora(targets=[]), convolutions, "is called nothing"),
        (lora(targets="conv("), convolutions, r"'conv\(' is not a regular expression"),
        (ia3(targets=["mlp.0"], feedforward=["mlp.3"]), transformer, "is called mlp.3"),
    ],
)
def test_targets_that_are_not_there_or_cannot_be_adapted_are_refused(kind: Adapter, make: Make, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        put(kind, make)
    assert "linear layers, and convolutions without groups" in refused.value.next_step


def bare(*layers: nn.Module) -> Backbone:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return Backbone(
        name="bare", blocks={"norm": nn.Sequential(*layers)}, pool=pool, width=3, spec=transformer().spec,
        loaded="random",
    )  # fmt: skip


@pytest.mark.parametrize("kind", [lora, dora, ia3])
def test_a_network_without_any_such_layer_is_refused(kind: Callable[[], Adapter]) -> None:
    with pytest.raises(ConfigError, match="the blocks that learn have no adaptable layer"):
        put(kind(), lambda: bare(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1, groups=3)))


def test_ia3_asks_for_names_that_it_does_not_know() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pointwise = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.pointwise(x)
            return out

    with pytest.raises(ConfigError, match=r"no layer has a known name of keys, values .*: norm\.0\.pointwise"):
        put(ia3(), lambda: bare(Last()))


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match="peft, which makes adapters, is not installed") as refused:
        put(lora(), transformer)
    assert "frostline[adapters]" in refused.value.next_step


# --- layers of the transformers library ---


class Embeddings(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.project = nn.Embedding(11, width), nn.Linear(width, width)

    def forward(self, tokens: Tokens) -> Tokens:
        return Tokens(self.project(self.table(tokens.values[..., 0])), tokens.mask)


class Layer(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: Tokens) -> Tokens:
        out = self.layer(tokens.values)
        return Tokens(out if isinstance(out, Tensor) else out[0], tokens.mask)


class FirstToken(nn.Module):
    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.values[:, 0]


def text(*layers: nn.Module) -> Backbone:
    blocks = {"embeddings": Embeddings(12)} | {f"layer_{n}": Layer(layer) for n, layer in enumerate(layers)}
    spec = TextSpec(tokenizer="none", max_length=8)
    backbone = Backbone(name="text", blocks=blocks, pool=FirstToken(), width=12, spec=spec, loaded="random")
    return backbone.eval()


def bert() -> Backbone:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    torch.manual_seed(0)
    config = BertConfig(hidden_size=12, num_attention_heads=3, intermediate_size=24, attn_implementation="sdpa")
    return text(BertLayer(config))


def gpt2() -> Backbone:
    from transformers import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    torch.manual_seed(0)
    return text(GPT2Block(GPT2Config(n_embd=12, n_head=3, n_inner=24, attn_implementation="sdpa"), layer_idx=0))


def t5() -> Backbone:
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Block

    torch.manual_seed(0)
    config = T5Config(d_model=12, d_kv=4, num_heads=3, d_ff=24, feed_forward_proj="gated-gelu")
    return text(T5Block(config, has_relative_attention_bias=True))


BERT = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
BERT += ["intermediate.dense", "output.dense"]
T5 = ["layer.0.SelfAttention.k", "layer.0.SelfAttention.v", "layer.1.DenseReluDense.wo"]
GPT2 = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]


@pytest.mark.parametrize(
    ("kind", "make", "names"),
    [
        (lora, bert, BERT),
        (dora, bert, BERT),
        (ia3, bert, ["attention.self.key", "attention.self.value", "output.dense"]),
        (lora, gpt2, GPT2),
        (dora, gpt2, GPT2),
        (ia3, gpt2, ["attn.c_attn", "mlp.c_proj"]),
        (ia3, t5, T5),
    ],
)
def test_layers_of_text_networks_get_one_and_embeddings_none(
    kind: Callable[[], Adapter], make: Make, names: list[str]
) -> None:
    values, mask = torch.tensor([[[3, 0], [5, 0], [7, 0]]]), torch.ones(1, 3, dtype=torch.bool)
    expected = make()(Tokens(values, mask))
    backbone = put(kind(), make)
    assert adapted(backbone) == [f"layer_0.layer.{name}" for name in names]
    torch.testing.assert_close(backbone(Tokens(values, mask)), expected)
    assert not torch.allclose(moved(backbone)(Tokens(values, mask)), expected, rtol=1e-3)
