"""Adapters in a network: which parameters they are, what they are folded into, and weights of one without."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
import torch

from adapted import convolutions, moved, pictures, transformer
from frostline.adapters.kinds import Adapter, Dora, Ia3, Lora
from frostline.adapters.layers import (
    adapter_names,
    adapter_parameters,
    holds_adapters,
    merged,
    renew_magnitudes,
    scales,
    with_adapters_of,
)
from frostline.backbones.base import Backbone
from frostline.frozen.key import prefix_digests

KINDS: dict[str, Adapter] = {
    "lora": Lora(4, 8, 0.0, None, False),
    "dora": Dora(4, 8, 0.0, None),
    "ia3": Ia3(None, None),
}


def put(adapter: Adapter, make: Callable[[], Backbone]) -> Backbone:
    backbone = make()
    torch.manual_seed(3)
    adapter.put_into(backbone, list(backbone.blocks))
    return backbone


@pytest.mark.parametrize("make", [transformer, convolutions])
@pytest.mark.parametrize("kind", KINDS)
def test_merged_it_is_a_network_without_adapters_that_gives_the_same(kind: str, make: Callable[[], Backbone]) -> None:
    backbone = moved(put(KINDS[kind], make))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    whole = merged(backbone)
    assert str(whole) == str(make())
    assert whole.state_dict().keys() == make().state_dict().keys()
    torch.testing.assert_close(whole(pictures()), backbone(pictures()))
    assert backbone.state_dict().keys() == before.keys(), "a copy was merged"
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_weights_that_are_merged_fit_the_network_that_they_came_from() -> None:
    backbone = moved(put(KINDS["lora"], transformer))
    plain = transformer()
    plain.load_state_dict(merged(backbone).state_dict())
    torch.testing.assert_close(plain(pictures()), backbone(pictures()))


@pytest.mark.parametrize("make", [transformer, convolutions])
@pytest.mark.parametrize("kind", KINDS)
def test_its_parameters_are_those_that_the_network_had_not(kind: str, make: Callable[[], Backbone]) -> None:
    backbone = put(KINDS[kind], make)
    count = sum(p.numel() for p in backbone.parameters()) - sum(p.numel() for p in make().parameters())
    assert sum(p.numel() for p in adapter_parameters(backbone)) == count > 0
    assert adapter_names(backbone) < set(backbone.state_dict())


@pytest.mark.parametrize(("kind", "ends"), [("lora", set()), ("dora", {"lora_magnitude_vector"}), ("ia3", {"ia3_l"})])
@pytest.mark.parametrize("make", [transformer, convolutions])
def test_what_scales_is_told_from_what_multiplies(kind: str, ends: set[str], make: Callable[[], Backbone]) -> None:
    backbone = put(KINDS[kind], make)
    found = {id(p) for p in scales(backbone)}
    names = {part for name, p in backbone.named_parameters() if id(p) in found for part in name.split(".")}
    assert names & {"lora_A", "lora_B", "lora_magnitude_vector", "ia3_l"} == ends


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_the_network_without_take_their_places_and_the_adapter_stays(kind: str) -> None:
    backbone, plain = moved(put(KINDS[kind], transformer)), transformer()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(1.5)
    state = with_adapters_of(backbone, plain.state_dict())
    assert state.keys() == backbone.state_dict().keys()
    own = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.load_state_dict(state)
    assert all(torch.equal(state[name], own[name]) for name in adapter_names(backbone))
    assert not holds_adapters(plain.state_dict())
    assert holds_adapters(state)


@pytest.mark.parametrize("make", [transformer, convolutions])
def test_after_other_weights_dora_begins_with_their_norms(make: Callable[[], Backbone]) -> None:
    backbone, other = put(KINDS["dora"], make), make()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    backbone.load_state_dict(with_adapters_of(backbone, other.state_dict()))
    assert not torch.allclose(backbone(pictures()), other(pictures()), rtol=1e-3)
    renew_magnitudes(backbone)
    torch.testing.assert_close(backbone(pictures()), other(pictures()))


def test_what_is_kept_of_frozen_blocks_belongs_to_the_adapters_weights_and_to_their_scale() -> None:
    """The scale is seen neither in the weights nor in the text of the network."""

    def digests(alpha: Any, network: Callable[[Backbone], Backbone] = lambda it: it) -> list[str]:
        return prefix_digests(network(put(Lora(4, alpha, 0.0, ["middle.0"], False), convolutions)))

    one, other, learned = digests(8), digests(16), digests(8, moved)
    assert one == digests(8)
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False, False]
    assert [a == b for a, b in zip(one, learned, strict=True)] == [True, True, False, False]
    assert prefix_digests(convolutions())[:2] == one[:2]


def test_what_another_peft_computed_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = put(Lora(4, 8, 0.0, ["middle.0"], False), convolutions)
    before, plain = prefix_digests(adapted), prefix_digests(convolutions())
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0" if name == "peft" else version(name))
    assert [a == b for a, b in zip(before, prefix_digests(adapted), strict=True)] == [True, True, False, False]
    assert prefix_digests(convolutions()) == plain
