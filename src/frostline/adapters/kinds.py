"""Kinds of adapters, and the choice of layers for them: layers that the network calls, of types that peft adapts
exactly.

Names of layers begin with their block: `layer1.0.conv1`, `encoder_layer_3.mlp.0`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from frostline.adapters.attention import opened
from frostline.adapters.layers import renew_magnitudes
from frostline.backbones.base import Backbone
from frostline.config.ranges import Positive, Probability
from frostline.errors import ConfigError, needs

CAN = "linear layers, and convolutions without groups and dilation"
NO_LAYER = "the blocks that learn have no adaptable layer"
EMBEDDINGS = "embeddings"  # block of text networks, which LoRA leaves out unless targets name it

# Layers that (IA)³ scales, by the ends of their names: those that compute keys and values (and queries, if one layer
# computes all three, as in peft's mapping for GPT-2), and the last layers of feed-forward parts, by their input. From
# peft 0.21's mapping for text networks, the names of timm's and torchvision's transformers, and DistilBERT's.
KEYS_VALUES = ("key", "value", "key_proj", "value_proj", "k_proj", "v_proj", "k_lin", "v_lin", "k", "v", "qkv",
               "in_proj", "c_attn", "query_key_value", "Wqkv")  # fmt: skip
FEEDFORWARD = ("output.dense", "fc2", "mlp.3", "mlp.c_proj", "lin2", "down_proj", "dense_4h_to_h", "mlp.Wo",
               "DenseReluDense.wo", "ffn_output")  # fmt: skip
NO_FEEDFORWARD = ("attention.output.dense",)  # ends like one of FEEDFORWARD, but belongs to attention


class Adapter(ABC):
    @abstractmethod
    def put_into(self, backbone: Backbone, blocks: Collection[str]) -> None:
        """Adapt these blocks in place. Initial weights are drawn from torch's generator, and do not change outputs.

        Raises ConfigError if peft is not installed, or if a target is no layer that it can adapt.
        """


class NoAdapter(Adapter):
    def put_into(self, backbone: Backbone, blocks: Collection[str]) -> None:
        return


class Lora(Adapter):
    """Adds to a layer's weights a product of two factors of rank `rank`, times alpha / rank (Hu et al. 2022,
    arXiv:2106.09685, section 4.1); `rslora`: times alpha / √rank (Kalajdzievski 2023, arXiv:2312.03732).

    targets: ends of layer names, a regular expression for the whole name, or null for all linear layers except those
        of embeddings; all convolutions if there are no linear layers.
    """

    def __init__(
        self,
        rank: Positive[int],
        alpha: Positive[float],
        dropout: Probability,
        targets: list[str] | str | None,
        rslora: bool,
    ) -> None:
        self.settings = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout, "use_rslora": rslora}
        self.targets = targets

    def put_into(self, backbone: Backbone, blocks: Collection[str]) -> None:
        peft = _imported()
        layers = _adaptable(backbone, blocks)
        names = _chosen(layers, self.targets) if self.targets is not None else _all_of_a_kind(layers)
        turned = all(type(layers[name]).__name__ == "Conv1D" for name in names)  # GPT-2's weights are transposed
        config = peft.LoraConfig(target_modules=_full(names), fan_in_fan_out=turned, **self.settings)
        _inject(peft, config, backbone)


class Dora(Lora):
    """LoRA for the directions of a layer's weights; their norms are learned separately, one per output (Liu et al.
    2024, arXiv:2402.09353, equation 5)."""

    def __init__(
        self, rank: Positive[int], alpha: Positive[float], dropout: Probability, targets: list[str] | str | None
    ) -> None:
        super().__init__(rank, alpha, dropout, targets, rslora=False)
        self.settings["use_dora"] = True


class Ia3(Adapter):
    """Learns a factor for each output of a layer, or each input (Liu et al. 2022, arXiv:2205.05638, section 3.3).

    targets: as for LoRA; null for keys, values and last layers of feed-forward parts, or, if there are only
        convolutions, for all of them.
    feedforward: targets whose input is scaled; null for the last layers of feed-forward parts.
    """

    def __init__(self, targets: list[str] | str | None, feedforward: list[str] | None) -> None:
        self.targets = targets
        self.feedforward = feedforward

    def put_into(self, backbone: Backbone, blocks: Collection[str]) -> None:
        peft = _imported()
        layers = _adaptable(backbone, blocks)
        names = _chosen(layers, self.targets) if self.targets is not None else _scaled(layers)
        inputs = _chosen({name: layers[name] for name in names}, self.feedforward) if self.feedforward else []
        if self.feedforward is None:
            inputs = [name for name in names if _ends_feedforward(name)]
        turned = all(type(layers[name]).__name__ == "Conv1D" for name in names)
        config = peft.IA3Config(target_modules=_full(names), feedforward_modules=_full(inputs), fan_in_fan_out=turned)
        _inject(peft, config, backbone)


def _imported() -> Any:
    with needs("peft", "which makes adapters", where="adapter", extra="adapters", otherwise="adapter=none"):
        import peft
    return peft


def _inject(peft: Any, config: Any, backbone: Backbone) -> None:
    peft.inject_adapter_in_model(config, backbone)
    renew_magnitudes(backbone)
    backbone.train(backbone.training)  # the mode of new dropout layers, too


# --- which layers ---


def _adaptable(backbone: Backbone, blocks: Collection[str]) -> dict[str, nn.Module]:
    """Layers of these blocks that can be adapted, by name. nn.MultiheadAttention is replaced first, see `opened`.

    Some networks read a layer's weights without calling it (torchvision's Swin, timm's BEiT): an adapter would have no
    effect there. Subclasses are left out, because they may transform their weights (weight standardisation).
    """
    for name in blocks:
        backbone.blocks[name] = opened(backbone.blocks[name])
    layers = {
        f"{name}.{inner}".removesuffix("."): layer
        for name in blocks
        for inner, layer in backbone.blocks[name].named_modules()
        if _can_be_adapted(layer)
    }
    called = _called(backbone, list(layers.values()))
    return {name: layer for name, layer in layers.items() if layer in called}


def _can_be_adapted(layer: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D  # peft has imported it

    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return type(layer) in (nn.Linear, Conv1D)


def _called(backbone: Backbone, layers: list[nn.Module]) -> set[nn.Module]:
    """The layers that a forward pass of one input calls."""
    seen: set[nn.Module] = set()
    handles = [layer.register_forward_hook(lambda layer, *_: seen.add(layer)) for layer in layers]
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        backbone(backbone.spec.example())
    for handle in handles:
        handle.remove()
    backbone.train(training)
    return seen


def _chosen(layers: dict[str, nn.Module], targets: list[str] | str) -> list[str]:
    """Names of the layers that `targets` match. Raises ConfigError if a target matches none."""
    if isinstance(targets, str):
        try:
            pattern = re.compile(targets)
        except re.error as error:
            raise _nothing(layers, f"'{targets}' is not a regular expression ({error})") from error
        matched = [name for name in layers if pattern.fullmatch(name)]
        unknown = [] if matched else [targets]
    else:
        matched = [name for name in layers if any(_ends(name, target) for target in targets)]
        unknown = [target for target in targets if not any(_ends(name, target) for name in layers)]
    if unknown or not matched:
        raise _nothing(layers, f"no adaptable layer is called {', '.join(unknown) or 'nothing'}")
    return matched


def _all_of_a_kind(layers: dict[str, nn.Module]) -> list[str]:
    inner = {name: layer for name, layer in layers.items() if name.split(".")[0] != EMBEDDINGS}
    linear = [name for name, layer in inner.items() if not isinstance(layer, nn.Conv2d)]
    if not inner:
        raise _nothing(inner, NO_LAYER)
    return linear or list(inner)


def _scaled(layers: dict[str, nn.Module]) -> list[str]:
    named = [name for name in layers if any(_ends(name, end) for end in KEYS_VALUES) or _ends_feedforward(name)]
    named = [name for name in named if not isinstance(layers[name], nn.Conv2d)]
    convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)]
    if (not named and len(convolutions) < len(layers)) or not layers:
        raise _nothing(layers, "no layer has a known name of keys, values or feed-forward layers")
    return named or convolutions


def _nothing(layers: dict[str, nn.Module], what: str) -> ConfigError:
    """The error lists names of layers with each number as 0: there may be hundreds."""
    kinds = sorted({re.sub(r"\d+", "0", name) for name in layers})
    return ConfigError(
        f"{what}; adaptable layers, with each number as 0: {', '.join(kinds)}" if kinds else NO_LAYER,
        where="adapter.targets",
        next_step=f"choose among {CAN}; or adapter=none  # schedule=bitfit trains only biases and norms",
    )


def _ends(name: str, end: str) -> bool:
    """Match the end of a name as peft does."""
    return name == end or name.endswith(f".{end}")


def _ends_feedforward(name: str) -> bool:
    return any(_ends(name, end) for end in FEEDFORWARD) and not any(_ends(name, end) for end in NO_FEEDFORWARD)


def _full(names: list[str]) -> list[str]:
    return [f"blocks.{name}" for name in names]
