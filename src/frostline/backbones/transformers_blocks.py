"""Blocks and pools for layouts: modules of the transformers library, given attention masks and positions of Tokens.

Shapes: B samples, L tokens of the longest of them, D features, H heads; padding is at the right.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.contracts.tokens import Tokens

# Keys of a config that do not affect what a network computes.
OF_THE_FILE = ("_name_or_path", "architectures", "dtype", "transformers_version", "use_cache")


class Block(nn.Module):
    """Tokens → Tokens. The repr shows the library's version and a digest of the network's config: the key of the frozen
    cache includes the repr, and modules do not show their heads, windows and rotary positions."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        settings = {key: value for key, value in config.to_dict().items() if key not in OF_THE_FILE}
        text = json.dumps(settings, sort_keys=True, default=str)
        self.config_digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.transformers_version = version("transformers")

    def extra_repr(self) -> str:
        return f"transformers {self.transformers_version}, config {self.config_digest}"


# --- the first block ---


class Embeddings(Block):
    """(B, L, 2) → (B, L, D). takes: arguments of the library's module besides the ids. first: position of the first
    token. then: a module before the first layer. table: a module that all layers share; it belongs to this block."""

    def __init__(
        self,
        config: Any,
        embeddings: nn.Module,
        takes: Iterable[str] = (),
        *,
        first: int = 0,
        then: nn.Module | None = None,
        table: nn.Module | None = None,
    ) -> None:
        super().__init__(config)
        self.embeddings, self.then, self.table = embeddings, then, table
        self.takes, self.first = tuple(takes), first

    def forward(self, tokens: Tokens) -> Tokens:
        ids, segments = tokens.values.unbind(-1)
        given = {"token_type_ids": segments, "position_ids": self._positions(tokens.mask), "mask": tokens.mask}
        hidden = self.embeddings(ids, **{name: given[name] for name in self.takes})
        return Tokens(in_low(hidden if self.then is None else self.then(hidden)), tokens.mask)

    def _positions(self, mask: Tensor) -> Tensor:
        """(B, L) positions from `first` on; padding has `first` - 1, as in fairseq (RoBERTa's `padding_idx`)."""
        return mask.cumsum(1) * mask + (self.first - 1)


def in_low(hidden: Tensor) -> Tensor:
    """Under autocast to bf16, cast the residual stream to bf16 at its start: in float32, each sum, norm and product
    would cast it back and forth."""
    low = torch.is_autocast_enabled(hidden.device.type) and torch.get_autocast_dtype(hidden.device.type)
    return hidden.to(torch.bfloat16) if low is torch.bfloat16 else hidden


class WordsAndPositions(nn.Module):
    """(B, L) → (B, L, D): GPT-2's embeddings."""

    def __init__(self, words: nn.Module, positions: nn.Module, drop: nn.Module) -> None:
        super().__init__()
        self.words, self.positions, self.drop = words, positions, drop

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        dropped: Tensor = self.drop(self.words(ids) + self.positions(places))
        return dropped


class Distances(nn.Module):
    """(K, D): DeBERTa's embeddings of K distances between tokens, with their norm."""

    def __init__(self, table: nn.Embedding, norm: nn.Module | None) -> None:
        super().__init__()
        self.table, self.norm = table, norm

    def forward(self) -> Tensor:
        return self.table.weight if self.norm is None else self.norm(self.table.weight)


# --- layers ---


class Attends(NamedTuple):
    """Which tokens a token attends to: all real ones, those up to itself (`causal`), or those at most `reach` away."""

    causal: bool = False
    reach: int | None = None

    def mask(self, tokens: Tokens) -> Tensor | None:
        """(B or 1, 1, L or 1, L) bool. None for causal without `reach`, which the library does itself: with padding at
        the right no real token attends to padding. No row is empty, even without real tokens: it would give NaN."""
        places = torch.arange(tokens.mask.shape[1], device=tokens.mask.device)
        if self.causal and self.reach is None:
            return None
        away = places - places[:, None]
        if self.causal:
            return ((away <= 0) & (away >= -(self.reach or 0)))[None, None]
        real = (tokens.mask | (places == 0))[:, None, None, :]
        return real if self.reach is None else (real & (away.abs() <= self.reach)) | (away == 0)


class Rotary(nn.Module):
    """(B, L, D) → cosines and sines (1, L, D/H) of the positions. Casting the network must not cast the frequencies: in
    bf16 the rotations of far tokens would be wrong. So they are stored as int32 with the same bits."""

    def __init__(self, frequencies: Tensor, scaling: float) -> None:
        super().__init__()
        self.register_buffer("bits", frequencies.float().view(torch.int32), persistent=False)
        self.scaling = scaling

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.bits, Tensor)
        places = torch.arange(hidden.shape[1], device=hidden.device, dtype=torch.float32)
        half = places[:, None] * self.bits.view(torch.float32)
        angles = torch.cat([half, half], dim=-1)[None]
        return (angles.cos() * self.scaling).to(hidden.dtype), (angles.sin() * self.scaling).to(hidden.dtype)


class Layer(Block):
    """(B, L, D) → (B, L, D)."""

    def __init__(self, config: Any, layer: nn.Module, attends: Attends, rotary: Rotary | None = None) -> None:
        super().__init__(config)
        self.layer, self.attends, self.rotary = layer, attends, rotary
        self.adds_mask = config._attn_implementation == "eager"  # eager attention takes an additive mask

    def forward(self, tokens: Tokens) -> Tokens:
        hidden = tokens.values
        out = self.layer(hidden, attention_mask=self._mask(tokens), **self._given(hidden))
        return Tokens(out if isinstance(out, Tensor) else out[0], tokens.mask)

    def _mask(self, tokens: Tokens) -> Tensor | None:
        mask, dtype = self.attends.mask(tokens), tokens.values.dtype
        if mask is None or not self.adds_mask:
            return mask
        return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)

    def _given(self, hidden: Tensor) -> dict[str, Any]:
        return {} if self.rotary is None else {"position_embeddings": self.rotary(hidden)}


class BiasedLayer(Layer):
    """Adds a bias (1, H, L, L) for the distances between tokens. table: shared by all layers; it belongs to a block
    below, and a tuple keeps it from being registered here too. bucket: distances → its rows."""

    def __init__(self, config: Any, layer: nn.Module, table: nn.Module, bucket: Callable[..., Tensor]) -> None:
        super().__init__(config, layer, Attends())
        self.below, self.bucket = (table,), bucket

    def _given(self, hidden: Tensor) -> dict[str, Any]:
        places = torch.arange(hidden.shape[1], device=hidden.device)
        bias: Tensor = self.below[0](self.bucket(places - places[:, None]))
        return {"position_bias": bias.permute(2, 0, 1)[None].to(hidden.dtype)}


class DisentangledLayer(Layer):
    """DeBERTa's layer. distances: shared, as `table` of a BiasedLayer. conv: in the first layer of some models."""

    def __init__(self, config: Any, layer: nn.Module, distances: Distances | None, conv: nn.Module | None) -> None:
        super().__init__(config, layer, Attends())
        self.below, self.conv = () if distances is None else (distances,), conv
        self.adds_mask = False

    def forward(self, tokens: Tokens) -> Tokens:
        out = super().forward(tokens)
        if self.conv is None:
            return out
        return Tokens(self.conv(tokens.values, out.values, tokens.mask.long()), tokens.mask)

    def _given(self, hidden: Tensor) -> dict[str, Any]:
        return {"rel_embeddings": self.below[0]().to(hidden.dtype)} if self.below else {}


class RepeatedLayer(Layer):
    """ALBERT's layer, applied `times` times with the same weights."""

    def __init__(self, config: Any, layer: nn.Module, times: int) -> None:
        super().__init__(config, layer, Attends())
        self.times = times

    def forward(self, tokens: Tokens) -> Tokens:
        for _ in range(self.times):
            tokens = super().forward(tokens)
        return tokens


class Norm(Block):
    """(B, L, D) → (B, L, D): the norm after the last layer."""

    def __init__(self, config: Any, norm: nn.Module, drop: nn.Module | None = None) -> None:
        super().__init__(config)
        self.norm, self.drop = norm, drop

    def forward(self, tokens: Tokens) -> Tokens:
        hidden = self.norm(tokens.values)
        return Tokens(hidden if self.drop is None else self.drop(hidden), tokens.mask)


# --- pools ---


class First(nn.Module):
    """(B, L, D) → (B, D): the first token."""

    def forward(self, tokens: Tokens) -> Tensor:
        return tokens.values[:, 0]


class Mean(nn.Module):
    """(B, L, D) → (B, D): the mean of all real tokens, summed in float32, because bf16 loses digits of long texts."""

    def forward(self, tokens: Tokens) -> Tensor:
        real = tokens.mask.unsqueeze(-1)
        total = tokens.values.float().masked_fill(~real, 0.0).sum(1)
        return (total / real.sum(1).clamp(min=1)).to(tokens.values.dtype)


class Last(nn.Module):
    """(B, L, D) → (B, D): the last real token, the only one in a decoder that attends to all others."""

    def forward(self, tokens: Tokens) -> Tensor:
        last = (tokens.mask.sum(1) - 1).clamp(min=0)
        return tokens.values[torch.arange(len(last), device=last.device), last]


POOLS: dict[str, type[nn.Module]] = {"cls": First, "mean": Mean, "last": Last}
