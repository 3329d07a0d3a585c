"""Layouts for architectures of the transformers library that take sounds. A layout is a function that groups a
network's modules, in the order of its `forward`, into blocks.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

from torch import nn

from frostline.backbones.mel import HOP, WINDOW, AstMel, WhisperMel
from frostline.backbones.sound_blocks import AstStem, Convolutions, FirstTwo, GatedLayer, Projection, WhisperStem
from frostline.backbones.transformers_blocks import Attends, Layer, Mean, Norm
from frostline.contracts.specs import WaveSpec


class SoundChain(NamedTuple):
    """blocks: they hold every parameter but the `fixed` ones, which never learn and are buffers. in_time: whether
    tokens are in the order of time."""

    blocks: Mapping[str, nn.Module]
    pool: nn.Module
    spec: WaveSpec
    in_time: bool = True
    fixed: tuple[str, ...] = ()


def sound_chain(net: Any, extractor: Any, library: Any) -> SoundChain:
    """net: of a class in LAYOUTS. extractor: the library's, with which it was trained. Raises NotImplementedError if
    the network has a part that its layout does not cover."""
    chain = LAYOUTS[type(net).__name__](net, extractor, library)
    names = {id(parameter): name for name, parameter in net.named_parameters() if name not in chain.fixed}
    held = [id(parameter) for block in chain.blocks.values() for parameter in block.parameters()]
    if sorted(held) != sorted(names):
        left = [name for number, name in names.items() if held.count(number) != 1]
        raise NotImplementedError(f"some parameters are in no block, or in two: {', '.join(left[:4])}")
    return chain


def _wav2vec2(net: Any, extractor: Any, library: Any) -> SoundChain:
    layers = {f"layer_{n}": Layer(net.config, layer, Attends()) for n, layer in enumerate(net.encoder.layers)}
    return _convolved(net, extractor, layers)


def _wavlm(net: Any, extractor: Any, library: Any) -> SoundChain:
    config, layers = net.config, net.encoder.layers
    first, before = layers[0].attention, config.do_stable_layer_norm
    gated = {
        f"layer_{number}": GatedLayer(config, layer, first if number else None, before=before)
        for number, layer in enumerate(layers)
    }
    return _convolved(net, extractor, gated)


def _convolved(net: Any, extractor: Any, layers: Mapping[str, nn.Module]) -> SoundChain:
    """The network reads values of any length. With `do_stable_layer_norm` its norm is behind the last layer."""
    config, encoder = net.config, net.encoder
    kernels = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))
    least = 1
    for kernel, stride in reversed(kernels):
        least = (least - 1) * stride + kernel
    spec = WaveSpec(extractor.sampling_rate, least, prod(config.conv_stride), kernels)
    normalizes, after = bool(extractor.do_normalize), config.do_stable_layer_norm
    norm = None if after else encoder.layer_norm
    blocks = {
        "convolutions": Convolutions(config, net.feature_extractor.conv_layers, spec, normalizes=normalizes),
        "projection": Projection(config, net.feature_projection, encoder.pos_conv_embed, norm, encoder.dropout),
        **layers,
        **({"norm": Norm(config, encoder.layer_norm)} if after else {}),
    }
    return SoundChain(blocks, Mean(), spec)


def _whisper(net: Any, extractor: Any, library: Any) -> SoundChain:
    mel, tokens = WhisperMel(extractor), net.config.max_source_positions
    stem = WhisperStem(net.config, mel, [net.conv1, net.conv2], net.embed_positions.weight.detach())
    blocks = {
        "stem": stem,
        **{f"layer_{number}": Layer(net.config, layer, Attends()) for number, layer in enumerate(net.layers)},
        "norm": Norm(net.config, net.layer_norm),
    }
    rate, values = extractor.sampling_rate, extractor.n_samples
    spec = WaveSpec(rate, 1, values // tokens, tokens=tokens, most_seconds=values / rate)
    return SoundChain(blocks, Mean(), spec, fixed=("embed_positions.weight",))


def _ast(net: Any, extractor: Any, library: Any) -> SoundChain:
    rate, frames = extractor.sampling_rate, extractor.max_length
    bands = library.audio_utils.mel_filter_bank(
        num_frequency_bins=257,  # of a Fourier transform of 512 values
        num_mel_filters=extractor.num_mel_bins,
        min_frequency=20,
        max_frequency=rate // 2,
        sampling_rate=rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    values, tokens = (frames - 1) * HOP + WINDOW, net.embeddings.position_embeddings.shape[1]
    blocks = {
        "stem": AstStem(net.config, AstMel(extractor, bands), net.embeddings),
        **{f"layer_{number}": Layer(net.config, layer, Attends()) for number, layer in enumerate(net.layers)},
        "norm": Norm(net.config, net.layernorm),
    }
    spec = WaveSpec(rate, WINDOW, HOP * net.config.time_stride, tokens=tokens, most_seconds=values / rate)
    return SoundChain(blocks, FirstTwo(), spec, in_time=False)


LAYOUTS: dict[str, Callable[[Any, Any, Any], SoundChain]] = {
    "ASTModel": _ast,
    "HubertModel": _wav2vec2,
    "Wav2Vec2Model": _wav2vec2,
    "WavLMModel": _wavlm,
    "WhisperEncoder": _whisper,
}
