"""How networks of transformers that find objects are cut into blocks, and what remains behind them: a decoder. A layout
takes the library's model without its last layers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.backbones.detection_blocks import Fold, MapEncoder, Patches, Projector, Stage, WindowLayer

SIDE = 64  # pixels of the picture with which maps are measured


class MapChain(NamedTuple):
    """blocks: of a chain that ends in folded maps. maps: these. multiple: of which the sides of a picture must be one.
    square: whether pictures must be. left: parts of the library's model that no output depends on."""

    blocks: dict[str, nn.Module]
    maps: Fold
    multiple: int
    square: bool = False
    left: tuple[str, ...] = ()


def _pyramid(model: Any) -> MapChain:
    """A convolutional network, whose maps from a stride on an encoder joins (RT-DETR, D-FINE)."""
    network, taken = model.backbone.model, set(model.backbone.model.out_features)
    modules = dict(zip(network.stage_names, [network.embedder, *network.encoder.stages], strict=True))
    blocks: dict[str, nn.Module] = {}
    held, value, last = Fold((), ()), torch.zeros(1, 3, SIDE, SIDE), False
    with torch.no_grad():
        for name, module in modules.items():
            value = module(value)
            keeps = len(held.widths) if last else max(len(held.widths) - 1, 0)
            widths, strides = held.widths[:keeps], held.strides[:keeps]
            made = Fold((*widths, value.shape[1]), (*strides, SIDE // value.shape[-1]))
            blocks[name] = Stage(module, held, made, keeps) if blocks else module
            held, last = made, name in taken
        whole = MapEncoder(model.encoder_input_proj, model.encoder, held, held)
        maps = [torch.zeros(1, width, SIDE // it, SIDE // it) for width, it in zip(*held, strict=True)]
        maps = [project(one) for project, one in zip(whole.projections, maps, strict=True)]
        widths = tuple(one.shape[1] for one in whole.encoder(maps).last_hidden_state)
    whole.made = Fold(widths, held.strides)
    return MapChain(blocks | {"encoder": whole}, whole.made, held.strides[-1])


def _windows(model: Any) -> MapChain:
    """A transformer whose layers attend within windows or to all of them, and a projector that joins the tokens of some
    layers into one map (RF-DETR). The library orders the windows of other pictures than squares in two ways that do not
    belong together, so that only squares are taken."""
    network, config = model.backbone.backbone, model.backbone.backbone.config
    windows, width = config.num_windows**2, config.hidden_size
    taken = [network.stage_names.index(name) for name in network.out_features]
    network.embeddings.mask_token = None  # of its pretraining
    blocks: dict[str, nn.Module] = {"stem": Patches(network.embeddings, windows)}
    for number, layer in enumerate(network.encoder.layer[: taken[-1]]):
        keeps = sum(place <= number for place in taken)
        blocks[f"layer{number + 1}"] = WindowLayer(layer, windows, width, keeps)
    norm = network.layernorm if config.apply_layernorm else None
    blocks["projector"] = Projector(norm, model.backbone.projector, windows, width)
    left = ["mask_token", *(f"layer {number + 1}" for number in range(taken[-1], len(network.encoder.layer)))]
    left += [] if config.apply_layernorm else ["layernorm"]
    maps = Fold((model.d_model,), (config.patch_size,))
    return MapChain(blocks, maps, config.patch_size * config.num_windows, square=True, left=tuple(left))


# By the library's model without last layers, the cut and the maps that the library itself computes.
LAYOUTS: Mapping[str, Callable[[Any], MapChain]] = {
    "DFineModel": _pyramid,
    "RTDetrModel": _pyramid,
    "RTDetrV2Model": _pyramid,
    "RfDetrModel": _windows,
}


def maps_of_library(model: Any, pictures: Tensor) -> list[Tensor]:
    """The maps that the library's own decoder gets."""
    outputs = model(pictures)
    if LAYOUTS[type(model).__name__] is _windows:
        return [outputs.backbone_features]
    return list(outputs.encoder_last_hidden_state)
