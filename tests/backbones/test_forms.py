"""Features as maps and pyramids: every model of conf/model gives what it declares, or names what it can give."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from conftest import PICTURE_MODELS, short_form
from frostline.backbones.base import STRIDES, Backbone
from frostline.config.instantiate import instantiate
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec
from frostline.errors import ConfigError

Made = Callable[..., Backbone]
# These end in a block that pools, cut the borders of their maps off, or have tokens.
VECTORS_ONLY = {"convnext_tiny", "inception_v3", "mobilenet_v3_large", "mobilenet_v3_small", "vgg16", "vit_b_16"}
OTHERS = sorted({*PICTURE_MODELS} - VECTORS_ONLY)
WITH_MAPS = re.compile("bundled|densenet|efficientnet|resnet|swin")  # families that give maps
SMALL = ["bundled", "resnet18", "efficientnet_lite0"]
SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def made(composed: Callable[..., Any]) -> Made:
    """A model of conf/model without weights, in eval mode."""

    def make_it(model: str, form: Form) -> Backbone:
        torch.manual_seed(0)
        backbone: Backbone = instantiate(composed(f"model={model}").model, "model", Backbone, load=False, form=form)
        return backbone.eval()

    return make_it


@pytest.fixture
def made_with_maps(made: Made) -> Made:
    """`made` for a model that gives maps. Skips one that names its forms without them, unless its family is known to
    give them: a further model is asked, and needs no line here."""

    def make_it(model: str, form: Form) -> Backbone:
        try:
            return made(model, form)
        except ConfigError:
            if WITH_MAPS.match(model):
                raise
            pytest.skip(f"{model} returns no {form}")

    return make_it


def counted(backbone: Backbone) -> Counter[str]:
    """The calls of each block from here on, by name."""
    ran = Counter[str]()
    for name, block in backbone.blocks.items():
        block.register_forward_hook(lambda *_, name=name: ran.update([name]))
    return ran


def sides_of(backbone: Backbone) -> list[tuple[int, int]]:
    spec = backbone.spec
    assert isinstance(spec, ImageSpec)
    return [(spec.size, spec.size)] if spec.sizes == "fixed" else [(96, 64), (64, 160)]


def device_of(model: str) -> torch.device:
    """The meta device: shapes alone cost nothing. timm's layers run on it only before anything was compiled."""
    return torch.device("cpu" if "lite" in model else "meta")


@pytest.mark.parametrize("model", sorted(VECTORS_ONLY))
@pytest.mark.parametrize("form", ["map", "pyramid"])
def test_a_model_of_vectors_alone_names_its_forms(model: str, form: Form, made: Made) -> None:
    said = rf"returns features as vector, but this head .* needs {form}"
    with device_of(model), pytest.raises(ConfigError, match=said) as refused:
        made(model, form)
    assert "model=resnet50" in refused.value.next_step


@pytest.mark.parametrize("model", short_form(OTHERS, "bundled", "resnet18"))
def test_a_model_gives_the_maps_that_it_declares(model: str, made_with_maps: Made) -> None:
    with device_of(model):
        whole, pyramid = made_with_maps(model, "map"), made_with_maps(model, "pyramid")
        assert (whole.features.form, pyramid.features.form) == ("map", "pyramid")
        assert list(pyramid.features.strides) == sorted({*pyramid.features.strides} & {*STRIDES})
        for height, width in sides_of(whole):
            inputs = torch.empty(2, 3, height, width)
            for backbone, maps in ((whole, [whole(inputs)]), (pyramid, pyramid(inputs))):
                assert [tuple(it.shape) for it in maps] == [
                    (2, channels, height // stride, width // stride)
                    for channels, stride in zip(backbone.features.widths, backbone.features.strides, strict=True)
                ]
        assert pyramid.levels[-1].block == list(pyramid.blocks)[-1], "a pyramid needs the last block"
        assert pyramid.features.width == whole.features.width


@pytest.mark.parametrize("model", short_form(OTHERS, *SMALL))
def test_a_pyramid_passes_its_blocks_in_two_parts_as_in_one(model: str, made_with_maps: Made) -> None:
    backbone, number = made_with_maps(model, "pyramid"), 0
    inputs, names = torch.randn(2, 3, *sides_of(backbone)[-1]), list(backbone.blocks)
    with torch.inference_mode():
        each, x = {}, inputs
        for name, block in backbone.blocks.items():
            each[name] = x = block(x)
        whole = backbone.through(inputs, 0, len(names))
        assert list(whole) == [level.block for level in backbone.levels]
        for number in range(1, len(names) + 1):
            held = backbone.through(inputs, 0, number)
            assert list(held) == [names[it - 1] for it in backbone.held_at(number)]
            assert all(torch.equal(value, each[name]) for name, value in held.items())
            assert names[number - 1] in held or number == len(names)
            rest = backbone.through(held, number, len(names))
            assert rest.keys() == whole.keys()
            assert all(torch.equal(value, whole[name]) for name, value in rest.items())
        ran = counted(backbone)
        for level, features in zip(backbone.levels, backbone(inputs), strict=True):
            expected = each[level.block]
            assert torch.equal(features, expected.permute(0, 3, 1, 2) if level.channels_last else expected)
        assert ran == dict.fromkeys(names, 1), "a pyramid takes no more than one pass"


@pytest.mark.parametrize("model", short_form(OTHERS, *SMALL))
def test_a_map_is_what_the_last_block_gives(model: str, made_with_maps: Made) -> None:
    backbone = made_with_maps(model, "map")
    x = inputs = torch.randn(1, 3, *sides_of(backbone)[-1])
    with torch.inference_mode():
        for block in backbone.blocks.values():
            x = block(x)
        expected = x if x.shape[1] == backbone.features.width else x.permute(0, 3, 1, 2)
        assert torch.equal(backbone(inputs), expected)
        for number in range(len(backbone.blocks)):
            held = backbone.through(inputs, 0, number)
            assert torch.equal(backbone.through(held, number, len(backbone.blocks)), expected)


# --- what the rest of a network needs ---


def halving(form: Form = "pyramid") -> Backbone:
    """Strides 2, 4, 4, 8, 8."""
    blocks = {
        "a": nn.Conv2d(3, 4, 2, stride=2), "b": nn.Conv2d(4, 5, 2, stride=2), "c": nn.Conv2d(5, 6, 1),
        "d": nn.Conv2d(6, 7, 2, stride=2), "e": nn.Conv2d(7, 8, 1),
    }  # fmt: skip
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return Backbone(name="small", blocks=blocks, pool=pool, width=8, spec=SPEC, loaded="random", form=form)


def test_a_pyramid_has_the_last_map_of_each_stride_from_4_on() -> None:
    features = halving().features
    assert (features.widths, features.strides, features.width) == ((6, 8), (4, 8), 8)
    assert [level.block for level in halving().levels] == ["c", "e"]


def test_held_are_the_levels_below_a_line_and_the_block_at_it() -> None:
    backbone = halving()
    assert [backbone.held_at(number) for number in range(6)] == [[0], [1], [2], [3], [3, 4], [3, 5]]
    assert [halving("map").held_at(number) for number in range(6)] == [[0], [1], [2], [3], [4], [5]]


@pytest.mark.parametrize("line", range(6))
def test_a_pyramid_runs_each_block_once_wherever_it_is_divided(line: int) -> None:
    backbone = halving()
    ran = counted(backbone)
    held = backbone.through(torch.zeros(1, 3, 16, 16), 0, line) if line else torch.zeros(1, 3, 16, 16)
    assert ran == dict.fromkeys("abcde"[:line], 1)
    backbone.to_head(backbone.through(held, line, 5))
    assert ran == dict.fromkeys("abcde", 1)


def test_finding_the_levels_out_leaves_modes_and_norms_alone() -> None:
    norm = nn.BatchNorm2d(3)
    blocks = {"norm": norm, "a": nn.Conv2d(3, 4, 4, stride=4), "b": nn.Conv2d(4, 5, 2, stride=2)}
    backbone = Backbone(
        name="small", blocks=blocks, pool=nn.Identity(), width=5, spec=SPEC, loaded="random", form="pyramid"
    )
    assert backbone.blocks["norm"].training
    assert int(norm.num_batches_tracked) == 0
