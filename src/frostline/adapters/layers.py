"""Find the adapters in a network, describe them, and merge them into its weights, without importing peft.

A layer with an adapter is a layer of peft, which holds the network's own as `base_layer`; `adapter_layer_names` are the
attributes that hold the learned parameters.
"""

import copy
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from torch import Tensor, contiguous_format, nn

from frostline.adapters.attention import SelfAttention, closed
from frostline.backbones.base import Backbone

BASE = "base_layer."
FIRST, SECOND = "lora_A", "lora_B"  # factors whose product is added to the weights; 0 while the second is 0
MAGNITUDES = "lora_magnitude_vector"


def adapter_layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names and layers that have an adapter."""
    return ((name, part) for name, part in module.named_modules() if hasattr(part, "adapter_layer_names"))


def adapter_names(module: nn.Module) -> set[str]:
    """Names of the adapters' parameters, as in the module's state_dict."""
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
    """The adapters' parameters that scale a layer's own output, unlike LoRA's factors: decaying them to zero would
    remove the whole layer."""
    names = adapter_names(module)
    factors = (f".{FIRST}.", f".{SECOND}.")
    return [p for name, p in module.named_parameters() if name in names and not any(kind in name for kind in factors)]


def settings_of(module: nn.Module) -> str:
    """peft's version, and the adapters' settings that neither the module's repr nor its weights show; empty without
    adapters."""
    adapters = "".join(
        f"{name} {dict(getattr(layer, 'scaling', {}))} {getattr(layer, 'is_feedforward', None)}\n"
        for name, layer in adapter_layers(module)
    )
    return f"peft {metadata.version('peft')}\n{adapters}" if adapters else ""


# --- merging into the weights ---


def merged(backbone: Backbone) -> Backbone:
    """A copy with the adapters merged into its weights, under the library's own names."""
    whole = copy.deepcopy(backbone)
    for name, block in list(whole.blocks.items()):
        whole.blocks[name] = folded(block)
    whole.__dict__.pop("peft_config", None)
    return whole


def folded(module: nn.Module) -> nn.Module:
    """Merge the adapters into the weights in place; if `module` is itself a layer of peft, return its base layer."""
    if hasattr(module, "adapter_layer_names"):
        layer: Any = module
        layer.merge()
        base: nn.Module = layer.get_base_layer()
        return base
    for name, child in list(module.named_children()):
        setattr(module, name, folded(child))
    return closed(module) if isinstance(module, SelfAttention) else module


# --- loading weights of a network without adapters into one with adapters ---


def holds_adapters(state: dict[str, Tensor]) -> bool:
    return any(BASE in name for name in state)


def with_adapters_of(backbone: Backbone, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename `state`, of the same network without adapters, to this one's names, and add this one's adapters to it."""
    own, added = backbone.state_dict(), adapter_names(backbone)
    plain = {_plain(name): name for name in own if name not in added}
    named = {plain.get(name, name): value for name, value in state.items()}
    return named | {name: own[name] for name in added}


def renew_magnitudes(backbone: Backbone) -> None:
    """Set DoRA's magnitudes to the norms of the current weights. For convolutions, peft leaves them with strides of
    another shape, which makes DDP warn; the clone has its own."""
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
    """The name in the network without adapters, where nn.MultiheadAttention has no layer for its input projection."""
    return name.replace(f".in_proj.{BASE}", ".in_proj_").replace(".in_proj.", ".in_proj_").replace(BASE, "")
