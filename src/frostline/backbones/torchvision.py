"""Any classification model of torchvision as a backbone."""

import os
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torchvision import models
from torchvision.models import WeightsEnum

from frostline.backbones.base import Backbone
from frostline.backbones.torchvision_layouts import layout_of, modern_names
from frostline.backbones.weights import UNREADABLE, FoundWeights, load_weights, read_weights
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec
from frostline.errors import ConfigError, WeightsError, close_names
from frostline.paths import at_home

# The published weights of these two were trained elsewhere, on pictures scaled to -1..1; torchvision's builders switch
# the conversion on with the weights. A weights file is nearly always a copy of those.
NEEDS_TRANSFORM = {"inception_v3", "googlenet"}


class TorchvisionBackbone(Backbone):
    """`weights`: DEFAULT, a name of torchvision's weights for this model, a file, or null for random ones.
    `load=False`: the architecture and spec of these weights, with random values.

    Raises ConfigError if torchvision has no such model or it has no layout, WeightsError if weights cannot be loaded.
    """

    def __init__(self, name: str, *, weights: str | None, load: bool = True, form: Form = "vector") -> None:
        _require_known(name)
        source = _source(name, weights)
        published = source if isinstance(source, WeightsEnum) else _default_weights(name)
        network = _build(name, pretrained=source is not None, published=published, fills=source is not None and load)
        layout = layout_of(network)
        if layout is None:
            raise ConfigError(
                f"torchvision's {name} has no layout of blocks and last layer",
                where="model.name",
                next_step="choose another model, or add a layout in src/frostline/backbones/torchvision_layouts.py",
            )
        last = network.get_submodule(layout.last)
        loaded = "random, from scratch"
        if source is not None and load:
            loaded = load_weights(network, _read(source), [layout.last, *layout.unused], source=source)
        super().__init__(
            name=name,
            blocks=layout.blocks,
            pool=layout.pool,
            width=last.in_features,  # type: ignore[arg-type]  # torchvision's last layers are nn.Linear
            spec=_spec(published),
            loaded=loaded,
            form=form,
        )


def _require_known(name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classification model '{name}': {close_names(name, known)}",
            where="model.name",
            next_step="model.name=<one of torchvision.models.list_models()>",
        )


def _build(name: str, *, pretrained: bool, published: WeightsEnum, fills: bool) -> nn.Module:
    """fills: weights follow for all that is left of the network, so that drawing random ones is left out."""
    options: dict[str, Any] = {}
    if name in NEEDS_TRANSFORM:
        options = {"transform_input": pretrained, "aux_logits": True, "init_weights": not pretrained}
    if name.startswith("vit_"):
        options = {"image_size": published.meta["min_size"][0]}  # the position table fits this size only
    make = partial(models.get_model, name, weights=None, **options)
    return (_empty(make) if fills else None) or make()


def _empty(make: Callable[[], nn.Module]) -> nn.Module | None:
    """Build the network without initialising it, which takes 0.2 s of a ResNet-50's 0.3 (AMD EPYC, 2026-11-30). None if
    it holds tensors outside of its state dict, or reads tensors to build itself, as RegNet does."""
    try:
        with torch.device("meta"):
            network = make()
    except (NotImplementedError, RuntimeError):  # what torch raises if values without data are read
        return None
    for module in network.modules():
        if module._non_persistent_buffers_set or any(isinstance(it, Tensor) for it in vars(module).values()):
            return None
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, _NormBase):
            module.reset_running_stats()  # files of 2017 lack the number of batches
    return network


def _default_weights(name: str) -> WeightsEnum:
    default: WeightsEnum = models.get_model_weights(name)["DEFAULT"]
    return default


def _source(name: str, weights: str | None) -> WeightsEnum | Path | None:
    """Resolve `weights` to torchvision's own by their name, or else to a file."""
    if weights is None:
        return None
    published = models.get_model_weights(name)
    if weights == "DEFAULT":
        return _default_weights(name)
    member = weights.rpartition(".")[2]
    if member in published.__members__ and weights in (member, f"{published.__name__}.{member}"):
        chosen: WeightsEnum = published[member]
        return chosen
    if Path(weights).suffix or "/" in weights:
        return at_home(weights)
    raise WeightsError(
        f"{name} has no weights '{weights}': {close_names(weights, ['DEFAULT', *published.__members__])}",
        where="model.weights",
        next_step="one of these names, model.weights=<file> (.pth, .safetensors), or model.weights=null",
    )


def _read(source: WeightsEnum | Path) -> dict[str, torch.Tensor]:
    if isinstance(source, Path):
        found = read_weights(source)
        return FoundWeights({modern_names(key): value for key, value in found.items()}, found.told)
    try:
        state = torch.hub.load_state_dict_from_url(
            source.url, map_location="cpu", progress=os.isatty(2), check_hash=True, weights_only=True
        )
    except (urllib.error.URLError, *UNREADABLE) as error:
        raise WeightsError(
            f"the weights {source} cannot be downloaded or read: {error}",
            where=source.url,
            next_step="model.weights=<file> with a copy of that file, or model.weights=null to train from scratch",
        ) from error
    return {modern_names(key): value for key, value in state.items()}


def _spec(weights: WeightsEnum) -> ImageSpec:
    """The preprocessing that torchvision publishes with the weights (`weights.transforms()`)."""
    preset = weights.transforms()
    height, _ = weights.meta["min_size"]
    return ImageSpec(
        size=preset.crop_size[0],
        resize=preset.resize_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        min_size=height,
        sizes="fixed" if height == preset.crop_size[0] else "any",
    )
