"""Blocks of networks for sounds: modules of the transformers library, with the lengths of sounds made from Tokens.

Shapes: B sounds of T values, L tokens, C channels of the last convolution, D features, H heads; padding is at the
right.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from frostline.backbones.mel import AstMel, WhisperMel
from frostline.backbones.transformers_blocks import Block, in_low
from frostline.contracts.specs import WaveSpec, convolved
from frostline.contracts.tokens import Tokens

# --- from values to tokens ---


class Convolutions(Block):
    """(B, T, 1) → (B, L, C): the feature encoder of wav2vec2. normalizes: whether each sound gets mean 0 and variance 1
    first.

    The result for a sound does not depend on the padding beside it: a GroupNorm over time, as wav2vec2-base has, is
    computed over the sound alone, as in the library for a batch of one. In a padded batch the library includes the
    padding, for which its documentation warns of "slightly different results".
    """

    def __init__(self, config: Any, layers: nn.ModuleList, spec: WaveSpec, *, normalizes: bool) -> None:
        super().__init__(config)
        self.layers, self.spec, self.normalizes = layers, spec, normalizes

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, normalizes={self.normalizes}"

    def forward(self, tokens: Tokens) -> Tokens:
        lengths = tokens.mask.sum(1)
        waves = tokens.values.squeeze(-1).float().masked_fill(~tokens.mask, 0.0)
        x = standardised(waves, tokens.mask) if self.normalizes else waves
        x = x[:, None].to(next(self.layers.parameters()).dtype)
        for layer, (kernel, stride) in zip(self.layers, self.spec.kernels, strict=True):
            lengths = convolved(lengths, kernel, stride)
            if isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                x = layer.activation(group_normed(layer.layer_norm, layer.conv(x), lengths))  # type: ignore[operator, arg-type]
            else:
                x = layer(x)
        mask = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
        return Tokens(x.transpose(1, 2), mask)


def standardised(waves: Tensor, mask: Tensor) -> Tensor:
    """(B, T) → mean 0 and variance 1 over the real values of each sound, as Wav2Vec2FeatureExtractor does; 0 at
    padding. Silence stays 0."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    centred = (waves - waves.masked_fill(~mask, 0.0).sum(1, keepdim=True) / count).masked_fill(~mask, 0.0)
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()


def group_normed(norm: nn.GroupNorm, x: Tensor, lengths: Tensor) -> Tensor:
    """(B, C, L) → the same: each channel is normalised over the first `lengths` positions of its own sound."""
    real = (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None]
    h, count = x.float(), lengths[:, None, None]
    centred = (h - h.masked_fill(~real, 0.0).sum(2, keepdim=True) / count).masked_fill(~real, 0.0)
    h = centred * (centred.square().sum(2, keepdim=True) / count + norm.eps).rsqrt()
    return (h * norm.weight.float()[:, None] + norm.bias.float()[:, None]).to(x.dtype)


class Projection(Block):
    """(B, L, C) → (B, L, D), with positions from a convolution. norm: before the first layer, if the network has one
    there."""

    def __init__(
        self, config: Any, projection: nn.Module, positions: nn.Module, norm: nn.Module | None, drop: nn.Module
    ) -> None:
        super().__init__(config)
        self.projection, self.positions, self.norm, self.drop = projection, positions, norm, drop

    def forward(self, tokens: Tokens) -> Tokens:
        out = self.projection(tokens.values)
        hidden = (out if isinstance(out, Tensor) else out[0]).masked_fill(~tokens.mask[..., None], 0.0)
        hidden = hidden + self.positions(hidden)
        hidden = self.drop(hidden if self.norm is None else self.norm(hidden))
        return Tokens(in_low(hidden), tokens.mask)


class WhisperStem(Block):
    """(B, T, 1) → (B, L, D): log-mel spectrogram of 30 s, two convolutions, positions, which never learn."""

    def __init__(self, config: Any, mel: WhisperMel, convolutions: list[nn.Module], positions: Tensor) -> None:
        super().__init__(config)
        self.mel, self.convolutions = mel, nn.ModuleList(convolutions)
        self.register_buffer("positions", positions)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, tokens: Tokens) -> Tokens:
        x = self.mel(tokens.values.squeeze(-1).masked_fill(~tokens.mask, 0.0), tokens.mask.sum(1))
        x = x.to(next(self.convolutions.parameters()).dtype)
        for convolution in self.convolutions:
            x = gelu(convolution(x))
        hidden = self.drop(x.transpose(1, 2) + self.positions)
        return Tokens(in_low(hidden), whole(hidden))


class AstStem(Block):
    """(B, T, 1) → (B, L, D): log-mel spectrogram in patches, with positions and two tokens of the whole sound."""

    def __init__(self, config: Any, mel: AstMel, embeddings: nn.Module) -> None:
        super().__init__(config)
        self.mel, self.embeddings = mel, embeddings

    def forward(self, tokens: Tokens) -> Tokens:
        x = self.mel(tokens.values.squeeze(-1).masked_fill(~tokens.mask, 0.0), tokens.mask.sum(1))
        hidden = self.embeddings(x.to(next(self.embeddings.parameters()).dtype))
        return Tokens(in_low(hidden), whole(hidden))


def whole(hidden: Tensor) -> Tensor:
    """(B, L) mask without padding: the network hears silence at the end of short sounds."""
    return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)


# --- layers ---


class GatedLayer(Block):
    """(B, L, D) → (B, L, D): WavLM's layer. first: the attention of layer 0, which has the table of distances for all
    layers; it belongs to that block, and a tuple keeps it from being registered here too. None in layer 0. before:
    whether norms are before attention and MLP.

    Attention is computed with the modules themselves, not by the library's call, which reads `q_proj.weight`: an
    adapter in `q_proj` would do nothing.
    """

    def __init__(self, config: Any, layer: nn.Module, first: nn.Module | None, *, before: bool) -> None:
        super().__init__(config)
        self.layer: Any = layer
        self.below, self.before = () if first is None else (first,), before

    def forward(self, tokens: Tokens) -> Tokens:
        hidden, layer = tokens.values, self.layer
        given = layer.layer_norm(hidden) if self.before else hidden
        hidden = hidden + layer.dropout(self._attended(given, tokens.mask))
        if self.before:
            return Tokens(hidden + layer.feed_forward(layer.final_layer_norm(hidden)), tokens.mask)
        hidden = layer.layer_norm(hidden)
        return Tokens(layer.final_layer_norm(hidden + layer.feed_forward(hidden)), tokens.mask)

    def _attended(self, hidden: Tensor, mask: Tensor) -> Tensor:
        own, length = self.layer.attention, hidden.shape[1]
        first: Any = self.below[0] if self.below else own

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (own.num_heads, -1)).transpose(1, 2)  # (B, H, L, D / H)

        gates = own.gru_rel_pos_linear(heads(hidden)).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        gate = gates[..., :1] * (gates[..., 1:] * own.gru_rel_pos_const - 1.0) + 2.0  # (B, H, L, 1)
        bias = gate * first.compute_bias(length, length)[None].to(hidden.dtype)
        places = torch.arange(length, device=mask.device)
        real = (mask | (places == 0))[:, None, None, :]  # no row is empty: it would give NaN
        bias = bias.masked_fill(~real, -math.inf).to(hidden.dtype)
        query, key, value = (heads(project(hidden)) for project in (own.q_proj, own.k_proj, own.v_proj))
        dropped = own.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropped)
        out: Tensor = own.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


# --- pools ---


class FirstTwo(nn.Module):
    """(B, L, D) → (B, D): the mean of the AST's two tokens of the whole sound."""

    def forward(self, tokens: Tokens) -> Tensor:
        return (tokens.values[:, 0] + tokens.values[:, 1]) / 2
