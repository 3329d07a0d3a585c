"""Keys of cached outputs contain library versions and the number of threads."""

import weakref
from collections.abc import Iterator
from importlib import metadata

import pytest
import torch

from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.held import MOST, Held, forget, hold_blocks
from frostline.data import sample_cache
from frostline.frozen import key
from frostline.frozen.key import _version, machine, prefix_digests
from frostline.storage.key import key_of
from tiny import Tiny

CPU = torch.device("cpu")


@pytest.fixture
def other_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library that the test names is installed in another version, as another process finds it."""
    version = metadata.version
    other = request.node.callspec.params["library"]
    monkeypatch.setattr(metadata, "version", lambda name: f"{version(name)}{'.post1' * (name == other)}")
    _version.cache_clear()
    yield
    _version.cache_clear()


def frozen_key() -> str:
    return key_of({"machine": machine(CPU)})


def pixels_key() -> str:
    return sample_cache._key({"files": "the same"})


FROZEN, PIXELS = frozen_key(), pixels_key()


@pytest.mark.parametrize("library", ["torch", "torchvision", "pillow"])
def test_frozen_outputs_of_other_libraries_have_other_keys(library: str, other_version: None) -> None:
    assert frozen_key() != FROZEN


@pytest.mark.parametrize("library", ["torchvision", "pillow"])
def test_pictures_that_other_libraries_decoded_have_other_keys(library: str, other_version: None) -> None:
    assert pixels_key() != PIXELS


@pytest.mark.parametrize("library", ["pytest"])
def test_libraries_that_compute_nothing_leave_keys_as_they_are(library: str, other_version: None) -> None:
    assert (frozen_key(), pixels_key()) == (FROZEN, PIXELS)


def test_frozen_outputs_of_another_number_of_threads_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert frozen_key() != FROZEN
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert frozen_key() == FROZEN


def test_frozen_outputs_of_another_processor_or_of_other_algorithms_have_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    able = torch.cpu.get_capabilities()
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", lambda: able | {"an instruction set": True})
        assert frozen_key() != FROZEN
        patch.setattr(torch.cpu, "get_capabilities", lambda: able | {"an instruction set": False})
        assert frozen_key() == FROZEN
    deterministic = torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: not deterministic)
    assert frozen_key() != FROZEN


def test_pictures_of_another_layout_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_cache, "VERSION", sample_cache.VERSION + 1)
    assert pixels_key() != PIXELS


# --- digests of weights that are known from the last run of a process ---


def hashed(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests as a process finds them that has seen no other backbone."""
    with monkeypatch.context() as patch:
        patch.setattr(Held, "blocks", {})
        patch.setattr(Held, "seen", weakref.WeakSet())
        return prefix_digests(backbone)


def are_held() -> bool:
    return any(block.weights is not None for blocks in Held.blocks.values() for block in blocks)


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    forget()
    yield
    forget()


def test_known_weights_are_compared_and_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (BundledBackbone(weights="bundled") for _ in range(3))
    expected = hashed(first, monkeypatch)
    assert prefix_digests(first) == prefix_digests(first) == expected
    assert not are_held(), "a single run holds nothing"
    assert prefix_digests(second) == expected
    assert are_held()
    monkeypatch.setattr(key, "_bytes", None)  # the third run hashes nothing
    assert prefix_digests(third) == prefix_digests(third) == expected
    forget()
    assert not Held.blocks


@pytest.mark.parametrize("block", range(4))
def test_a_changed_weight_changes_the_digests_from_its_block_on(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(BundledBackbone(weights=None).blocks)
    for changes in (False, False, True, True, False):
        backbone = BundledBackbone(weights="bundled").to(memory_format=torch.channels_last)
        before = prefix_digests(backbone)
        assert before == hashed(backbone, monkeypatch)
        if changes:
            weight = next(backbone.blocks[names[block]].parameters())
            with torch.no_grad():
                weight[-1, 0, 0, 0].neg_()
        after = prefix_digests(backbone)
        assert after == hashed(backbone, monkeypatch)
        assert [a == b for a, b in zip(before, after, strict=True)] == [
            not changes or number <= block for number in range(len(before))
        ]


def test_backbones_in_turn_are_told_apart_and_each_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the towers of one network ask, and the models of a search."""
    for _ in range(3):
        backbones = [BundledBackbone(weights="bundled"), Tiny(weights=None)]
        expected = [hashed(backbone, monkeypatch) for backbone in backbones]
        for backbone in (*backbones, *backbones):
            assert prefix_digests(backbone) == expected[backbones.index(backbone)]
    monkeypatch.setattr(key, "_bytes", None)
    assert prefix_digests(BundledBackbone(weights="bundled")) == expected[0]


def test_the_sign_of_zero_makes_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, signed = BundledBackbone(weights="bundled"), BundledBackbone(weights="bundled")
    for backbone, zero in ((plain, 0.0), (signed, -0.0)):
        with torch.no_grad():
            next(backbone.blocks.parameters()).view(-1)[0] = zero
    for backbone in (plain, BundledBackbone(weights="bundled"), plain, signed, plain, signed):
        assert prefix_digests(backbone) == hashed(backbone, monkeypatch)
    assert prefix_digests(plain) != prefix_digests(signed)


def test_weights_that_need_too_much_memory_are_hashed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key, "free_memory", lambda: 1000)
    backbones = [BundledBackbone(weights="bundled") for _ in range(3)]
    assert len({tuple(prefix_digests(backbone)) for backbone in backbones}) == 1
    assert not are_held()


def test_only_the_last_structures_are_known() -> None:
    for number in range(MOST + 3):
        hold_blocks(str(number), [])
    hold_blocks("4", [])
    assert [*Held.blocks] == [*map(str, [3, *range(5, MOST + 3)]), "4"]
