"""What frozen blocks give for a sample depends on that sample alone; in bfloat16 they are as near as autocast is."""

from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from adapted import convolutions, moved, transformer
from adapted import pictures as small_pictures
from conftest import PICTURE_MODELS
from frostline.adapters.kinds import Dora, Ia3, Lora
from frostline.adapters.layers import adapter_names, merged
from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.config.instantiate import maker_of
from frostline.contracts.specs import ImageSpec
from frostline.frozen.blocks import FrozenPass, chunk_of, lowered, outputs_of

MODELS = sorted(PICTURE_MODELS)
LIGHT = {"bundled", "mobilenet_v3_small"}  # ResNets, and those built alike, are in `make test-all`


def named(name: str) -> Any:
    return pytest.param(name, marks=() if name in LIGHT else pytest.mark.long)


def backbone_of(name: str, composed: Callable[..., Any]) -> tuple[Backbone, int]:
    """Made once, as tests only run it."""
    if name not in MADE:
        MADE[name] = make(name, composed)
    return MADE[name]


MADE: dict[str, tuple[Backbone, int]] = {}


def make(name: str, composed: Callable[..., Any]) -> tuple[Backbone, int]:
    torch.manual_seed(0)
    weights = [] if name == "bundled" else ["model.weights=null"]
    backbone: Backbone = maker_of(composed(f"model={name}", *weights).model, "model")()
    spec: Any = backbone.spec
    size = spec.size if spec.sizes == "fixed" else max(32 if name in LIGHT else 64, spec.min_size)
    return backbone.to(memory_format=torch.channels_last).eval(), size


def pictures(number: int, size: int) -> Tensor:
    numbers = torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(1))
    return numbers.contiguous(memory_format=torch.channels_last)


def test_every_model_is_tried() -> None:
    assert set(MODELS) >= LIGHT


@pytest.mark.parametrize("name", [named(name) for name in MODELS])
@pytest.mark.parametrize(
    "low", [pytest.param(None, id="float32"), pytest.param(torch.bfloat16, id="bfloat16", marks=pytest.mark.long)]
)
def test_a_sample_gives_the_same_bits_in_any_company(
    name: str, low: torch.dtype | None, composed: Callable[..., Any]
) -> None:
    backbone, size = backbone_of(name, composed)
    work = FrozenPass(backbone, low)
    chunk = work.chunk(torch.device("cpu"))
    x, stop = pictures(chunk + 3, size), len(backbone.blocks)
    features = work(x, 0, stop)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    assert torch.equal(work(x[order], 0, stop), features[order])
    assert torch.equal(work(x[5:8], 0, stop), features[5:8])
    halfway = stop // 2
    assert torch.equal(work(work(x, 0, halfway), halfway, stop), features)
    assert not features.requires_grad
    assert not features.is_inference()


def test_chunks_are_larger_where_pictures_are_small_and_never_of_the_batch() -> None:
    cpu, spec = torch.device("cpu"), BUNDLED.spec
    assert isinstance(spec, ImageSpec)
    assert (chunk_of(spec, cpu), chunk_of(spec.at(224), cpu)) == (64, 16)


@pytest.mark.parametrize("last", [True, False])
def test_a_chunk_lies_in_memory_as_its_samples_whether_it_was_filled_up_or_not(last: bool) -> None:
    """GPUs choose the kernels of some layers by that, and with them the last bits."""
    seen = []
    backbone, x = BundledBackbone(weights=None).eval(), pictures(64, 16)
    layout = torch.channels_last if last else torch.contiguous_format
    backbone.blocks["stem"].register_forward_pre_hook(lambda _, given: seen.append(given[0].stride()))
    for number in (64, 23, 1):
        FrozenPass(backbone)(x[:number].contiguous(memory_format=layout), 0, 2)
    assert seen == [torch.empty(64, 3, 16, 16).contiguous(memory_format=layout).stride()] * 3


@settings(max_examples=15)
@given(places=st.lists(st.integers(0, 79), min_size=1, max_size=150), line=st.integers(1, 4))
def test_any_batch_of_samples_is_those_samples(places: list[int], line: int) -> None:
    assert torch.equal(FrozenPass(BUNDLED)(pictures(80, 16)[places], 0, line), all_at_once(line)[places])


@cache
def all_at_once(line: int) -> Tensor:
    return FrozenPass(BUNDLED)(pictures(80, 16), 0, line)


BUNDLED = BundledBackbone(weights="bundled").to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


@pytest.mark.parametrize("name", [named(name) for name in MODELS])
def test_low_precision_is_as_near_as_autocast(name: str, composed: Callable[..., Any]) -> None:
    backbone, size = backbone_of(name, composed)
    x, stop = pictures(16, size), len(backbone.blocks)
    exact = FrozenPass(backbone)(x, 0, stop)
    low = FrozenPass(backbone, torch.bfloat16)(x, 0, stop)
    with torch.autocast("cpu", torch.bfloat16):
        usual = FrozenPass(backbone)(x, 0, stop)
    assert low.dtype == torch.bfloat16
    error, usual_error = ((value.float() - exact).norm() / exact.norm() for value in (low, usual))
    assert error <= 2 * usual_error + 0.01


def test_norms_are_folded_where_a_convolution_comes_before(composed: Callable[..., Any]) -> None:
    backbone, _ = backbone_of("resnet18", composed)
    left = [m for block in backbone.blocks.values() for m in lowered(block, torch.bfloat16).modules()]
    assert not [module for module in left if isinstance(module, nn.BatchNorm2d)]
    assert [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)], "the network has its own"
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}


def test_a_copy_of_a_compiled_block_is_of_the_copy() -> None:
    block = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    block.forward = MethodType(nn.Sequential.forward, block)  # as compile_in_place binds it
    low = lowered(block, torch.bfloat16)(torch.randn(2, 8, dtype=torch.bfloat16))
    assert low.dtype == torch.bfloat16


def test_a_copy_follows_the_weights_once_it_is_told_to_forget() -> None:
    backbone = BundledBackbone(weights=None).eval()
    work, x = FrozenPass(backbone, torch.bfloat16), pictures(4, 8)
    before = work(x, 0, 4)
    with torch.no_grad():
        next(backbone.parameters()).mul_(2)
    assert torch.equal(work(x, 0, 4), before)
    work.forget()
    assert not torch.equal(work(x, 0, 4), before)


@pytest.mark.parametrize("make", [transformer, convolutions])
@pytest.mark.parametrize("adapter", [Lora(4, 8, 0.5, None, False), Dora(4, 8, 0.5, None), Ia3(None, None)])
def test_adapters_at_rest_are_those_of_training_and_in_bfloat16_part_of_the_weights(
    adapter: Any, make: Callable[[], Backbone]
) -> None:
    backbone = make()
    adapter.put_into(backbone, list(backbone.blocks))
    moved(backbone)
    x, stop = small_pictures(FrozenPass(backbone).chunk(torch.device("cpu")) + 3), len(backbone.blocks)
    exact = FrozenPass(backbone)(x, 0, stop)
    torch.testing.assert_close(exact, backbone(x).detach())
    assert torch.equal(FrozenPass(backbone)(x[5:8], 0, stop), exact[5:8])
    low, merely = FrozenPass(backbone, torch.bfloat16), FrozenPass(merged(backbone), torch.bfloat16)
    assert torch.equal(low(x, 0, stop), merely(x, 0, stop))
    assert torch.equal(low(x[5:8], 0, stop), low(x, 0, stop)[5:8])
    error = (low(x, 0, stop).float() - exact).norm() / exact.norm()
    assert error < 0.03
    assert adapter_names(backbone), "a copy was merged"


def test_outputs_are_told_as_they_come(composed: Callable[..., Any]) -> None:
    backbone, size = backbone_of("resnet18", composed)
    for low in (None, torch.bfloat16):
        told = outputs_of(backbone, pictures(1, size), low)
        assert len(told) == len(backbone.blocks) + 1
        assert [output.flops for output in told] == sorted(output.flops for output in told)
        for line in range(1, len(told)):
            real = FrozenPass(backbone, low)(pictures(3, size), 0, line)
            assert (real[0].numel(), real.dtype) == (told[line].numbers, told[line].dtype)
