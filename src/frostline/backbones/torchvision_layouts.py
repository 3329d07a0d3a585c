"""Layouts for architectures of torchvision. A layout is a function that groups a network's modules into blocks:

    blocks  ordered, stem first; together they hold every parameter but those of the last layer
    pool    the steps between the last block and the last layer; no parameters
    last    name of torchvision's own last layer, which the head replaces
    unused  modules that only serve the original training (auxiliary classifiers)

A norm between the last block and the last layer belongs to the last block: thawing one block thaws a whole layer.
The lower layers of a network's own classifier are kept, as blocks or in the last block.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops.misc import Permute


class Layout(NamedTuple):
    blocks: Mapping[str, nn.Module]
    pool: nn.Module
    last: str
    unused: tuple[str, ...] = ()


class Mean(nn.Module):
    """(B, D, H, W) → (B, D): torchvision writes `x.mean([2, 3])` inside `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean([2, 3])


class Call(nn.Module):
    """A function without parameters that torchvision calls inside `forward`, as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class VitStem(nn.Module):
    """Pictures (B, 3, H, W) → tokens (B, 1 + H·W/P², D): patches, class token, position table."""

    def __init__(self, vit: models.VisionTransformer) -> None:
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding
        self.dropout = vit.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        dropped: Tensor = self.dropout(tokens + self.pos_embedding)
        return dropped


def layout_of(network: nn.Module) -> Layout | None:
    """The layout of the network, or None if its architecture has none."""
    make = LAYOUTS.get(type(network))
    return make(network) if make is not None else None


def modern_names(key: str) -> str:
    """Rename keys of DenseNet's published files: `denselayer1.norm.1` is `denselayer1.norm1` in torchvision."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key)


def _pooled(net: Any) -> nn.Module:
    return nn.Sequential(net.avgpool, nn.Flatten(1))


def _mapped(net: Any, attribute: str, stages: Mapping[str, slice | int], *extra: nn.Module) -> dict[str, nn.Module]:
    """Blocks made of slices of a Sequential, by name; `extra` is appended to the last."""
    parts = getattr(net, attribute)
    blocks = {name: nn.Sequential(*parts[where]) if isinstance(where, slice) else parts[where]
              for name, where in stages.items()}  # fmt: skip
    if extra:
        top = list(blocks)[-1]
        blocks[top] = nn.Sequential(blocks[top], *extra)
    return blocks


def _each(net: Any, attribute: str, name: str) -> Mapping[str, slice | int]:
    """The first child is the stem, each other child a block of its own."""
    return {"stem": 0} | {f"{name}{number}": number for number in range(1, len(getattr(net, attribute)))}


def _resnet(net: Any) -> Layout:
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    layers = {f"layer{n}": getattr(net, f"layer{n}") for n in (1, 2, 3, 4)}
    return Layout({"stem": stem, **layers}, _pooled(net), "fc")


def _vgg(net: Any) -> Layout:
    """A stage ends with its pooling. `fc6` and `fc7` are the paper's names of the two big layers."""
    ends = [number + 1 for number, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    stages = {f"stage{n + 1}": slice(start, end) for n, (start, end) in enumerate(zip([0, *ends], ends, strict=False))}
    stages = {("stem" if name == "stage1" else name): where for name, where in stages.items()}
    fc6 = nn.Sequential(net.avgpool, nn.Flatten(1), *net.classifier[:3])
    fc7 = nn.Sequential(*net.classifier[3:6])
    return Layout({**_mapped(net, "features", stages), "fc6": fc6, "fc7": fc7}, nn.Identity(), "classifier.6")


def _alexnet(net: Any) -> Layout:
    stages: dict[str, slice | int] = {"stem": slice(0, 3), "conv2": slice(3, 6), "conv3": slice(6, 8)}
    stages |= {"conv4": slice(8, 10), "conv5": slice(10, 13)}
    fc6 = nn.Sequential(net.avgpool, nn.Flatten(1), *net.classifier[:3])
    fc7 = nn.Sequential(*net.classifier[3:6])
    return Layout({**_mapped(net, "features", stages), "fc6": fc6, "fc7": fc7}, nn.Identity(), "classifier.6")


def _inception(net: Any) -> Layout:
    stem = nn.Sequential(
        Call(net._transform_input), net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3, net.maxpool1,
        net.Conv2d_3b_1x1, net.Conv2d_4a_3x3, net.maxpool2,
    )  # fmt: skip
    mixed = {name: block for name, block in net.named_children() if name.startswith("Mixed_")}
    return Layout({"stem": stem, **mixed}, nn.Sequential(net.avgpool, net.dropout, nn.Flatten(1)), "fc", ("AuxLogits",))


def _googlenet(net: Any) -> Layout:
    stem = nn.Sequential(
        Call(net._transform_input), net.conv1, net.maxpool1, net.conv2, net.conv3, net.maxpool2,
    )  # fmt: skip
    blocks = {"stem": stem}
    for name, block in net.named_children():
        if name.startswith("inception"):
            last_of_stage = {"inception3b": net.maxpool3, "inception4e": net.maxpool4}.get(name)
            blocks[name] = nn.Sequential(block, last_of_stage) if last_of_stage is not None else block
    pool = nn.Sequential(net.avgpool, nn.Flatten(1), net.dropout)
    return Layout(blocks, pool, "fc", ("aux1", "aux2"))


def _mobilenet_v2(net: Any) -> Layout:
    stages = _each(net, "features", "block")
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), net.classifier[0])
    return Layout(_mapped(net, "features", stages), pool, "classifier.1")


def _mobilenet_v3(net: Any) -> Layout:
    top = nn.Sequential(net.avgpool, nn.Flatten(1), *net.classifier[:3])
    blocks = _mapped(net, "features", _each(net, "features", "block"))
    return Layout({**blocks, "fc": top}, nn.Identity(), "classifier.3")


def _efficientnet(net: Any) -> Layout:
    blocks = _mapped(net, "features", _each(net, "features", "block"))
    return Layout(blocks, nn.Sequential(net.avgpool, nn.Flatten(1), net.classifier[0]), "classifier.1")


def _convnext(net: Any) -> Layout:
    """A stage begins with its downsampling."""
    stages: dict[str, slice | int] = {"stem": 0, "stage1": 1}
    stages |= {"stage2": slice(2, 4), "stage3": slice(4, 6), "stage4": slice(6, 8)}
    blocks = _mapped(net, "features", stages, net.avgpool, net.classifier[0])
    return Layout(blocks, nn.Flatten(1), "classifier.2")


def _densenet(net: Any) -> Layout:
    """A dense block ends with its transition, the last one with the final norm."""
    f = net.features
    blocks: dict[str, nn.Module] = {"stem": nn.Sequential(f.conv0, f.norm0, f.relu0, f.pool0)}
    for n in (1, 2, 3):
        blocks[f"denseblock{n}"] = nn.Sequential(getattr(f, f"denseblock{n}"), getattr(f, f"transition{n}"))
    blocks["denseblock4"] = nn.Sequential(f.denseblock4, f.norm5, nn.ReLU(inplace=True))
    return Layout(blocks, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), "classifier")


def _vit(net: Any) -> Layout:
    layers = list(net.encoder.layers)
    blocks: dict[str, nn.Module] = {"stem": VitStem(net)}
    blocks |= {f"layer{number}": layer for number, layer in enumerate(layers, start=1)}
    blocks[f"layer{len(layers)}"] = nn.Sequential(layers[-1], net.encoder.ln)
    class_token = Call(lambda tokens: tokens[:, 0])
    return Layout(blocks, class_token, "heads.head")


def _swin(net: Any) -> Layout:
    """A stage begins with its patch merging."""
    stages: dict[str, slice | int] = {"stem": 0, "stage1": 1}
    stages |= {"stage2": slice(2, 4), "stage3": slice(4, 6), "stage4": slice(6, 8)}
    blocks = _mapped(net, "features", stages, net.norm)
    return Layout(blocks, nn.Sequential(Permute([0, 3, 1, 2]), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), "head")


def _shufflenet(net: Any) -> Layout:
    stem = nn.Sequential(net.conv1, net.maxpool)
    blocks = {"stem": stem, "stage2": net.stage2, "stage3": net.stage3, "stage4": net.stage4, "conv5": net.conv5}
    return Layout(blocks, Mean(), "fc")


def _mnasnet(net: Any) -> Layout:
    stages: dict[str, slice | int] = {"stem": slice(0, 8)}
    stages |= {f"stack{n - 7}": n for n in range(8, 14)} | {"conv": slice(14, 17)}
    return Layout(_mapped(net, "layers", stages), nn.Sequential(Mean(), net.classifier[0]), "classifier.1")


def _regnet(net: Any) -> Layout:
    stages = dict(net.trunk_output.named_children())
    return Layout({"stem": net.stem, **stages}, _pooled(net), "fc")


def _maxvit(net: Any) -> Layout:
    """The classifier's layers below the last one (norm, linear layer, tanh) belong to the top block."""
    blocks = {"stem": net.stem} | {f"block{number}": block for number, block in enumerate(net.blocks, start=1)}
    top = list(blocks)[-1]
    blocks[top] = nn.Sequential(blocks[top], *net.classifier[:5])
    return Layout(blocks, nn.Identity(), "classifier.5")


LAYOUTS: dict[type[nn.Module], Callable[[Any], Layout]] = {
    models.AlexNet: _alexnet,
    models.ConvNeXt: _convnext,
    models.DenseNet: _densenet,
    models.EfficientNet: _efficientnet,
    models.GoogLeNet: _googlenet,
    models.Inception3: _inception,
    models.MNASNet: _mnasnet,
    models.MaxVit: _maxvit,
    models.MobileNetV2: _mobilenet_v2,
    models.MobileNetV3: _mobilenet_v3,
    models.RegNet: _regnet,
    models.ResNet: _resnet,
    models.ShuffleNetV2: _shufflenet,
    models.SwinTransformer: _swin,
    models.VGG: _vgg,
    models.VisionTransformer: _vit,
}
