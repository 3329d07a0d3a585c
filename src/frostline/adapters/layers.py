"""What adapters are in a network: found, told, taken into the weights. peft itself is not needed for it.

A layer with an adapter is a layer of peft's in place of the network's own, which it holds as `base_layer`;
`adapter_layer_names` are the attributes that hold what learns.
"""

import copy
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from torch import Tensor, contiguous_format, nn

from frostline.adapters.attention import SelfAttention, closed
from frostline.backbones.base import Backbone

BASE = "base_layer."
FIRST, SECOND = "lora_A", "lora_B"  # factors: what they add is their product, nothing where the second is zero
MAGNITUDES = "lora_magnitude_vector"


def adapter_layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """With their names."""
    return ((name, part) for name, part in module.named_modules() if hasattr(part, "adapter_layer_names"))


def adapter_names(module: nn.Module) -> set[str]:
    """Of the parameters of its adapters, as in its state_dict."""
    return {
        f"{name}.{kind}.{key}".removeprefix(".")
        for name, layer in adapter_layers(module)
        for kind in layer.adapter_layer_names
        if hasattr(layer, kind)
        for key, _ in getattr(layer, kind).named_parameters()
    }


def adapter_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    names = adapter_names(module)
    return (p for name, p in module.named_parameters() if name in names)


def scales(module: nn.Module) -> list[nn.Parameter]:
    """The adapters' parameters that scale, and are no weights of a layer that multiplies: towards zero they would take
    the whole layer away."""
    names = adapter_names(module)
    factors = (f".{FIRST}.", f".{SECOND}.")
    return [p for name, p in module.named_parameters() if name in names and not any(kind in name for kind in factors)]


def settings_of(module: nn.Module) -> str:
    """What its adapters do, as far as neither its text nor its weights say it: by which peft, too. Empty where it has
    none."""
    said = "".join(
        f"{name} {dict(getattr(layer, 'scaling', {}))} {getattr(layer, 'is_feedforward', None)}\n"
        for name, layer in adapter_layers(module)
    )
    return f"peft {metadata.version('peft')}\n{said}" if said else ""


# --- folded into the weights ---


def merged(backbone: Backbone) -> Backbone:
    """A copy that does the same without adapters: they are part of its weights, under the library's own names."""
    whole = copy.deepcopy(backbone)
    for name, block in list(whole.blocks.items()):
        whole.blocks[name] = folded(block)
    whole.__dict__.pop("peft_config", None)
    return whole


def folded(module: nn.Module) -> nn.Module:
    """With its adapters folded into its weights, in place; a layer that is itself one of peft's gives another."""
    if hasattr(module, "adapter_layer_names"):
        layer: Any = module
        layer.merge()
        base: nn.Module = layer.get_base_layer()
        return base
    for name, child in list(module.named_children()):
        setattr(module, name, folded(child))
    return closed(module) if isinstance(module, SelfAttention) else module


# --- weights of a network without adapters, for one with them ---


def holds_adapters(state: dict[str, Tensor]) -> bool:
    return any(BASE in name for name in state)


def with_adapters_of(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """state: of the same network without adapters. Under this one's names, and with its adapters as they are."""
    own, added = backbone.state_dict(), adapter_names(backbone)
    plain = {_plain(name): name for name in own if name not in added}
    named = {plain.get(name, name): value for name, value in state.items()}
    return named | {name: own[name] for name in added}


def renew_magnitudes(backbone: Backbone) -> None:
    """DoRA's begin as the norms of the weights: of those that lie beside them now. Of convolutions peft leaves them
    with the strides of another shape, at which DDP warns: a copy has its own."""
    for _, layer in adapter_layers(backbone):
        for name, magnitude in getattr(layer, MAGNITUDES, {}).items():
            magnitude.update_layer(
                base_layer=layer.get_base_layer(),
                lora_A=layer.lora_A[name].weight,
                lora_B=layer.lora_B[name].weight,
                scaling=layer.scaling[name],
            )
            magnitude.weight = nn.Parameter(magnitude.weight.detach().clone(memory_format=contiguous_format))


def _plain(name: str) -> str:
    """As the network without adapters calls it; nn.MultiheadAttention holds what projects its input without a layer."""
    return name.replace(f".in_proj.{BASE}", ".in_proj_").replace(".in_proj.", ".in_proj_").replace(BASE, "")
