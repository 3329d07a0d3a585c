"""Layouts for architectures of timm. A layout is a list of steps, in the order of timm's own `forward_features` and
`forward_head`; timm's own group matcher decides which steps make a block.

Steps are names of modules: `stages.*` is every child of `stages`; `head()` is the head up to the features, without the
classifier. If timm works on tensors between modules, a function here makes the steps.

Shapes: pictures (B, 3, H, W); tokens (B, P + N, D), of which the first P are prefix tokens (class token, registers).
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Steps = Mapping[str, nn.Module]

STRANGER = "?"


class Chain(NamedTuple):
    """Arguments of `Backbone`: every parameter is in exactly one block, `pool` has none."""

    blocks: dict[str, nn.Module]
    pool: nn.Module


class Block(nn.Sequential):
    """The repr shows timm's version, because the key of the frozen cache includes the repr, and another version may
    compute differently."""

    def __init__(self, parts: OrderedDict[str, nn.Module]) -> None:
        super().__init__(parts)
        self.timm_version = version("timm")

    def extra_repr(self) -> str:
        return f"timm {self.timm_version}"


class Tokens(nn.Module):
    """(B, 3, H, W) → (B, P + N, D): patches with their prefix tokens and positions."""

    pos_embed: Tensor | None

    def __init__(self, net: Any, prefix: tuple[str, ...]) -> None:
        super().__init__()
        self.patch_embed = net.patch_embed
        self.prefix = [name for name in prefix if getattr(net, name) is not None]
        for name in self.prefix:
            self.register_parameter(name, getattr(net, name))
        self.register_parameter("pos_embed", net.pos_embed)
        self.only_patches = net.no_embed_class  # the position table has no rows for prefix tokens
        self.pos_drop = net.pos_drop

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        patches = x.flatten(1, 2) if x.ndim == 4 else x  # (B, H, W, D) if timm takes pictures of any size
        if self.only_patches:
            patches = self._placed(patches)
        tokens = torch.cat([*(getattr(self, name).expand(len(x), -1, -1) for name in self.prefix), patches], dim=1)
        dropped: Tensor = self.pos_drop(tokens if self.only_patches else self._placed(tokens))
        return dropped

    def _placed(self, x: Tensor) -> Tensor:
        return x if self.pos_embed is None else x + self.pos_embed


class Rotated(nn.Module):
    """A block with the rotary positions (N, 2·D/heads) that timm passes to each block."""

    def __init__(self, block: nn.Module, rope: Tensor | None) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("rope", rope, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rotated: Tensor = self.block(x, rope=self.rope)
        return rotated


class TokenPool(nn.Module):
    """(B, P + N, D) → (B, D). how: `token` takes the first token; `avg`, `max` and `avgmax` reduce tokens[skip:]."""

    def __init__(self, how: str, skip: int) -> None:
        super().__init__()
        if how not in ("token", "avg", "max", "avgmax"):
            raise NotImplementedError(f"its way to pool tokens, '{how}', is not supported")
        self.how, self.skip = how, skip

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "token":
            return x[:, 0]
        x = x[:, self.skip :]
        if self.how == "avg":
            return x.mean(dim=1)
        return x.amax(dim=1) if self.how == "max" else 0.5 * (x.amax(dim=1) + x.mean(dim=1))

    def extra_repr(self) -> str:
        return f"{self.how}, skip={self.skip}"


class WithoutPrefix(nn.Module):
    """(B, P + N, D) → (B, N, D)."""

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.prefix :]


class MeanOfTwo(nn.Module):
    """(B, 2 + N, D) → (B, D): the mean of the class token and the distillation token."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 0] + x[:, 1]) / 2


class Head(nn.Module):
    """timm's head, up to the features."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(x, pre_logits=True)
        return features


def chain_of(net: Any) -> Chain:
    """net: of a class in LAYOUTS, without its classifier (`reset_classifier(0)`).

    Raises NotImplementedError if the model has a part that its layout does not cover.
    """
    layout = LAYOUTS[type(net).__name__]
    return _grouped(net, dict(_named(net, layout)) if isinstance(layout, str) else layout(net))


def has_tokens(chain: Chain) -> bool:
    """Whether a position table fixes the size of pictures."""
    return any(isinstance(module, Tokens) for module in chain.blocks["stem"].children())


# --- which steps make a block ---


def _grouped(net: Any, steps: Steps) -> Chain:
    """Name each block after its first step, the first one `stem`. Steps that timm's matcher does not place (norms and
    layers below the classifier) or that have no parameters join the block below; those after the last parameter make
    the pool."""
    names, ordinals = list(steps), list(_ordinals(net, steps))
    top = max(place for place, ordinal in enumerate(ordinals) if ordinal is not None) + 1
    blocks: dict[str, OrderedDict[str, nn.Module]] = {}
    current, highest = "", -1
    for name, ordinal in zip(names[:top], ordinals[:top], strict=True):
        if ordinal is not None and ordinal < highest:
            raise NotImplementedError(f"timm's group matcher puts {name} below the layers before it")
        if not blocks or (ordinal is not None and ordinal > highest):
            current = name if blocks else "stem"
            blocks[current] = OrderedDict()
        highest = highest if ordinal is None else ordinal
        blocks[current][name] = steps[name]
    pool = OrderedDict((name, steps[name]) for name in names[top:])
    return Chain({name: Block(parts) for name, parts in blocks.items()}, Block(pool))


def _ordinals(net: Any, steps: Steps) -> Iterator[int | None]:
    """Yield the group of each step: None without parameters, that of the step below if the matcher does not place it.

    Raises NotImplementedError if a parameter is in no step or in two, or if the matcher divides a step.
    """
    from timm.models import group_parameters

    names = {id(parameter): name for name, parameter in net.named_parameters()}
    held = [id(parameter) for step in steps.values() for parameter in step.parameters()]
    if sorted(held) != sorted(names):
        left = [name for number, name in names.items() if number not in held]
        raise NotImplementedError(f"some parameters are in no step, or in two: {', '.join(left[:4])}")
    named: Any = _WithStranger(net)
    group_of = group_parameters(named, net.group_matcher(coarse=True), reverse=True)
    unplaced = group_of[STRANGER]
    below = 0
    for name, step in steps.items():
        groups = {group_of[names[id(parameter)]] for parameter in step.parameters()}
        if len(groups - {unplaced}) > 1:
            raise NotImplementedError(f"timm's group matcher divides {name}")
        below = min(groups - {unplaced}, default=below)
        yield below if groups else None


class _WithStranger:
    """A network with one more parameter, which no pattern matches: its group is that of all unmatched parameters."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter | None]]:
        yield from self.net.named_parameters()
        yield STRANGER, None


# --- layouts ---


def _named(net: Any, layout: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the steps of a layout. Module names cannot contain dots: `stages.0` becomes `stages0`, `features.norm5`
    becomes `norm5`."""
    for word in layout.split():
        name = word.removesuffix("()").removesuffix(".*")
        module = net.get_submodule(name)
        if word.endswith(".*"):
            for part, child in module.named_children():
                yield f"{name}{part}" if part.isdigit() else part, child
        else:
            yield name.replace(".", "_"), Head(module) if word.endswith("()") else module


def _vision_transformer(net: Any) -> Steps:
    steps = {"tokens": Tokens(net, ("cls_token", "reg_token")), **dict(_named(net, "norm_pre blocks.* norm"))}
    included = net.pool_include_prefix
    if net.attn_pool is None:
        steps["pool"] = TokenPool(net.global_pool, 0 if included else net.num_prefix_tokens)
    else:
        steps |= {"patches": WithoutPrefix(0 if included else net.num_prefix_tokens), "attn_pool": net.attn_pool}
    return steps | {"fc_norm": net.fc_norm, "head_drop": net.head_drop}


def _distilled(net: Any) -> Steps:
    tokens = Tokens(net, ("cls_token", "dist_token"))
    return {"tokens": tokens, **dict(_named(net, "norm_pre blocks.* norm")), "pool": MeanOfTwo()}


def _eva(net: Any) -> Steps:
    rope = _rotary(net)
    blocks = {name: Rotated(block, rope) for name, block in _named(net, "blocks.*")}
    steps = {"tokens": Tokens(net, ("cls_token", "reg_token")), "norm_pre": net.norm_pre, **blocks, "norm": net.norm}
    pool = net.attn_pool if net.attn_pool is not None else TokenPool(net.global_pool, net.num_prefix_tokens)
    return steps | {"pool": pool, "fc_norm": net.fc_norm, "head_drop": net.head_drop}


def _rotary(net: Any) -> Tensor | None:
    if net.rope is None:
        return None
    fixed = hasattr(net.rope, "feat_shape") and not net.dynamic_img_size
    embedding: Tensor = net.rope.get_embed() if fixed else net.rope.get_embed(shape=net.patch_embed.grid_size)
    return embedding


STAGED = "stem stages.* head()"

LAYOUTS: dict[str, str | Callable[[Any], Steps]] = {
    "ByobNet": "stem stages.* final_conv head()",
    "ConvNeXt": "stem stages.* norm_pre head()",
    "CspNet": STAGED,
    "DaVit": "stem stages.* norm_pre head()",
    "DenseNet": "features.* global_pool head_drop",
    "EdgeNeXt": "stem stages.* norm_pre head()",
    "EfficientNet": "conv_stem bn1 blocks.* conv_head bn2 global_pool",
    "Eva": _eva,
    "FocalNet": "stem layers.* norm head()",
    "HighPerfGpuNet": STAGED,
    "MambaOut": STAGED,
    "MaxxVit": "stem stages.* norm head()",
    "MobileNetV3": "conv_stem bn1 blocks.* global_pool conv_head norm_head act2 flatten",
    "NormFreeNet": "stem stages.* final_conv final_act head()",
    "RegNet": "stem s1 s2 s3 s4 final_conv head()",
    "ResNet": "conv1 bn1 act1 maxpool layer1 layer2 layer3 layer4 global_pool",
    "ResNetV2": "stem stages.* norm head()",
    "RexNet": "stem features.* head()",
    "StarNet": "stem stages.* norm global_pool flatten",
    "SwinTransformer": "patch_embed layers.* norm head()",
    "SwinTransformerV2": "patch_embed layers.* norm head()",
    "VisionTransformer": _vision_transformer,
    "VisionTransformerDistilled": _distilled,
    "VovNet": STAGED,
}
