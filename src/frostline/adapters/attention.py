"""nn.MultiheadAttention with projections that are called as layers, so that adapters can wrap them.

peft's own wrapper of that module adds the adapter to the weights before each call and subtracts it afterwards: in
floating point the frozen weights drift, and each call replaces the parameters. It supports neither dropout nor DoRA.

Shapes: B samples, N tokens, H heads of D/H numbers.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """The module's arithmetic and weights: softmax(QKᵀ/√(D/H))V (Vaswani et al. 2017, arXiv:1706.03762, eq. 1)."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        width, biased = attention.embed_dim, attention.in_proj_bias is not None
        self.num_heads = attention.num_heads
        self.dropout = attention.dropout
        self.in_proj = nn.Linear(width, 3 * width, bias=biased, device="meta")
        self.in_proj.weight, self.in_proj.bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = nn.Linear(width, width, bias=attention.out_proj.bias is not None, device="meta")
        self.out_proj.weight, self.out_proj.bias = attention.out_proj.weight, attention.out_proj.bias
        self.train(attention.training)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool) -> tuple[Tensor, None]:
        """(B, N, D), one tensor as query, key and value → (B, N, D) and None. Raises ValueError for other arguments."""
        if query is not key or query is not value or need_weights:
            raise ValueError("it takes one tensor as query, key and value, and returns no attention weights")
        parts = self.in_proj(query).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, H, D/H)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()
        mixed = scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


def opened(module: nn.Module) -> nn.Module:
    """Replace each attention of a supported form by a SelfAttention, in place."""
    for name, child in list(module.named_children()):
        setattr(module, name, opened(child))
    return SelfAttention(module) if type(module) is nn.MultiheadAttention and _plain(module) else module


def closed(attention: SelfAttention) -> nn.MultiheadAttention:
    """The nn.MultiheadAttention that it replaced, with the current weights."""
    inner, outer = attention.in_proj, attention.out_proj
    whole = nn.MultiheadAttention(
        outer.in_features,
        attention.num_heads,
        attention.dropout,
        bias=inner.bias is not None,
        batch_first=True,
        device="meta",
    )
    whole.in_proj_weight, whole.in_proj_bias = inner.weight, inner.bias  # type: ignore[assignment]  # Parameters
    whole.out_proj.weight, whole.out_proj.bias = outer.weight, outer.bias
    return whole.train(attention.training)


def _plain(attention: Any) -> bool:
    return bool(
        attention.batch_first
        and attention._qkv_same_embed_dim
        and attention.bias_k is None
        and not attention.add_zero_attn
    )
