"""Layouts for architectures of the transformers library. A layout is a function that groups a network's modules, in the
order of its `forward`, into blocks.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from frostline.backbones.transformers_blocks import (
    Attends,
    BiasedLayer,
    DisentangledLayer,
    Distances,
    Embeddings,
    Layer,
    Norm,
    RepeatedLayer,
    Rotary,
    WordsAndPositions,
)

OTHER_LENGTHS_OTHER_ROTATIONS = ("dynamic", "longrope")


class Chain(NamedTuple):
    """blocks: they hold every parameter. pooling: the family's own, `cls`, `mean` or `last`. positions: tokens of the
    longest text, None if the network has no limit."""

    blocks: Mapping[str, nn.Module]
    pooling: str
    positions: int | None


def chain_of(net: Any) -> Chain:
    """net: of a class in LAYOUTS, without its pooler. Raises NotImplementedError if the network has a part that its
    layout does not cover."""
    chain = LAYOUTS[type(net).__name__](net)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    held = [id(parameter) for block in chain.blocks.values() for parameter in block.parameters()]
    if sorted(held) != sorted(names):
        left = [name for number, name in names.items() if held.count(number) != 1]
        raise NotImplementedError(f"some parameters are in no block, or in two: {', '.join(left[:4])}")
    return chain


def _encoder(net: Any, embeddings: Embeddings, layers: Any, positions: int | None = None) -> Chain:
    if getattr(net.config, "is_decoder", False):
        raise NotImplementedError("its config says that it is a decoder")
    blocks = {f"layer_{number}": Layer(net.config, layer, Attends()) for number, layer in enumerate(layers)}
    return Chain({"embeddings": embeddings, **blocks}, "cls", positions or net.config.max_position_embeddings)


def _bert(net: Any) -> Chain:
    projection = getattr(net, "embeddings_project", None)  # ELECTRA has one if its embeddings are narrower
    first = Embeddings(net.config, net.embeddings, ["token_type_ids"], then=projection)
    return _encoder(net, first, net.encoder.layer)


def _roberta(net: Any) -> Chain:
    first = net.embeddings.padding_idx + 1
    embeddings = Embeddings(net.config, net.embeddings, ["token_type_ids", "position_ids"], first=first)
    return _encoder(net, embeddings, net.encoder.layer, net.config.max_position_embeddings - first)


def _distilbert(net: Any) -> Chain:
    return _encoder(net, Embeddings(net.config, net.embeddings), net.transformer.layer)


def _mpnet(net: Any) -> Chain:
    first, table = net.embeddings.padding_idx + 1, net.encoder.relative_attention_bias
    embeddings = Embeddings(net.config, net.embeddings, ["position_ids"], first=first, table=table)
    bucket = net.encoder.relative_position_bucket
    layers = {f"layer_{n}": BiasedLayer(net.config, it, table, bucket) for n, it in enumerate(net.encoder.layer)}
    return Chain({"embeddings": embeddings, **layers}, "cls", net.config.max_position_embeddings - first)


def _deberta(net: Any) -> Chain:
    encoder = net.encoder
    norm = getattr(encoder, "LayerNorm", None)
    distances = Distances(encoder.rel_embeddings, norm) if encoder.relative_attention else None
    embeddings = Embeddings(net.config, net.embeddings, ["token_type_ids", "mask"], table=distances)
    layers = {
        f"layer_{number}": DisentangledLayer(net.config, layer, distances, None if number else encoder.conv)
        for number, layer in enumerate(encoder.layer)
    }
    return Chain({"embeddings": embeddings, **layers}, "cls", net.config.max_position_embeddings)


def _albert(net: Any) -> Chain:
    groups = net.encoder.albert_layer_groups
    embeddings = Embeddings(
        net.config, net.embeddings, ["token_type_ids"], then=net.encoder.embedding_hidden_mapping_in
    )
    each = net.config.num_hidden_layers / len(groups)  # the library takes group `int(layer / each)`
    counts = [sum(int(layer / each) == n for layer in range(net.config.num_hidden_layers)) for n in range(len(groups))]
    layers = {f"layer_{n}": RepeatedLayer(net.config, groups[n], times) for n, times in enumerate(counts)}
    return Chain({"embeddings": embeddings, **layers}, "cls", net.config.max_position_embeddings)


def _modernbert(net: Any) -> Chain:
    config, layers = net.config, {}
    for number, layer in enumerate(net.layers):
        near = layer.attention_type == "sliding_attention"
        attends = Attends(reach=config.sliding_window if near else None)
        rotary = _rotary(net.rotary_emb, f"{layer.attention_type}_")
        layers[f"layer_{number}"] = Layer(config, layer, attends, rotary)
    blocks = {"embeddings": Embeddings(config, net.embeddings), **layers, "norm": Norm(config, net.final_norm)}
    return Chain(blocks, config.classifier_pooling, config.max_position_embeddings)


def _t5(net: Any) -> Chain:
    """The encoder only. Its table of distances is in the first layer."""
    config, encoder = net.config, net.encoder
    attention = encoder.block[0].layer[0].SelfAttention
    bucket = partial(
        type(attention)._relative_position_bucket,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    table = attention.relative_attention_bias
    layers = {f"layer_{n}": BiasedLayer(config, layer, table, bucket) for n, layer in enumerate(encoder.block)}
    embeddings = Embeddings(config, net.shared, then=encoder.dropout)
    blocks = {"embeddings": embeddings, **layers, "norm": Norm(config, encoder.final_layer_norm, encoder.dropout)}
    return Chain(blocks, "mean", None)


def _decoder(net: Any, embeddings: Embeddings, layers: Any, norm: nn.Module) -> Chain:
    config = net.config
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(layers)
    window = getattr(config, "sliding_window", None)
    rotary = _rotary(net.rotary_emb) if hasattr(net, "rotary_emb") else None
    layered = {}
    for number, (layer, kind) in enumerate(zip(layers, kinds, strict=True)):
        near = kind == "sliding_attention" or not hasattr(config, "layer_types")  # Mistral has a window in all or none
        attends = Attends(causal=True, reach=window - 1 if window is not None and near else None)
        layered[f"layer_{number}"] = Layer(config, layer, attends, rotary)
    blocks = {"embeddings": embeddings, **layered, "norm": Norm(config, norm)}
    return Chain(blocks, "last", config.max_position_embeddings)


def _gpt2(net: Any) -> Chain:
    words = WordsAndPositions(net.wte, net.wpe, net.drop)
    return _decoder(net, Embeddings(net.config, words), net.h, net.ln_f)


def _llama(net: Any) -> Chain:
    return _decoder(net, Embeddings(net.config, net.embed_tokens), net.layers, net.norm)


def _gpt_neox(net: Any) -> Chain:
    embeddings = Embeddings(net.config, net.embed_in, then=net.emb_dropout)
    return _decoder(net, embeddings, net.layers, net.final_layer_norm)


def _rotary(module: Any, kind: str = "") -> Rotary:
    """kind: the layer's attention type with a final `_`, if the library has frequencies per type."""
    rope = module.rope_type[kind.removesuffix("_")] if kind else module.rope_type
    if rope in OTHER_LENGTHS_OTHER_ROTATIONS:
        raise NotImplementedError(f"its rotary positions, '{rope}', depend on the longest text")
    return Rotary(getattr(module, f"{kind}inv_freq"), getattr(module, f"{kind}attention_scaling"))


LAYOUTS: dict[str, Callable[[Any], Chain]] = {
    "AlbertModel": _albert,
    "BertModel": _bert,
    "CamembertModel": _roberta,
    "DebertaV2Model": _deberta,
    "DistilBertModel": _distilbert,
    "ElectraModel": _bert,
    "GPT2Model": _gpt2,
    "GPTNeoXModel": _gpt_neox,
    "LlamaModel": _llama,
    "MPNetModel": _mpnet,
    "MT5EncoderModel": _t5,
    "MistralModel": _llama,
    "ModernBertModel": _modernbert,
    "Qwen2Model": _llama,
    "Qwen3Model": _llama,
    "RobertaModel": _roberta,
    "T5EncoderModel": _t5,
    "XLMRobertaModel": _roberta,
}
