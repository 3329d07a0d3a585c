"""Keys of cached outputs contain library versions and the number of threads."""

from collections.abc import Iterator
from importlib import metadata

import pytest
import torch

from frostline.backbones.bundled import BundledBackbone
from frostline.data import sample_cache
from frostline.frozen import key
from frostline.frozen.key import _Last, _version, machine, prefix_digests
from frostline.storage.key import key_of

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
    monkeypatch.setattr(sample_cache, "LAYOUT", sample_cache.LAYOUT + 1)
    assert pixels_key() != PIXELS


# --- digests of weights that are known from the last run of a process ---


def hashed(backbone: BundledBackbone) -> list[str]:
    """The digests as a process finds them that has seen no other backbone."""
    last, blocks = _Last.backbone, _Last.blocks
    _Last.backbone, _Last.blocks = None, []
    try:
        return prefix_digests(backbone)
    finally:
        _Last.backbone, _Last.blocks = last, blocks


def held() -> list[bool]:
    return [block.weights is not None for block in _Last.blocks]


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Last, "backbone", None)
    monkeypatch.setattr(_Last, "blocks", [])


@pytest.mark.usefixtures("nothing_known")
def test_known_weights_are_compared_and_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (BundledBackbone(weights="bundled") for _ in range(3))
    expected = hashed(first)
    assert prefix_digests(first) == prefix_digests(first) == expected
    assert not any(held()), "a single run holds nothing"
    assert prefix_digests(second) == expected
    assert all(held())
    monkeypatch.setattr(key, "_bytes", None)  # the third run hashes nothing
    assert prefix_digests(third) == prefix_digests(third) == expected


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("block", range(4))
def test_a_changed_weight_changes_the_digests_from_its_block_on(block: int) -> None:
    names = list(BundledBackbone(weights=None).blocks)
    for changes in (False, False, True, True, False):
        backbone = BundledBackbone(weights="bundled")
        before = prefix_digests(backbone)
        assert before == hashed(backbone)
        if changes:
            weight = next(backbone.blocks[names[block]].parameters())
            with torch.no_grad():
                weight.view(-1)[-1].neg_()
        after = prefix_digests(backbone)
        assert after == hashed(backbone)
        assert [a == b for a, b in zip(before, after, strict=True)] == [
            not changes or number <= block for number in range(len(before))
        ]


@pytest.mark.usefixtures("nothing_known")
def test_other_networks_and_the_sign_of_zero_are_told_apart() -> None:
    for _ in range(3):
        for weights in ("bundled", None):
            backbone = BundledBackbone(weights=weights)
            assert prefix_digests(backbone) == hashed(backbone)
    plain, signed = BundledBackbone(weights="bundled"), BundledBackbone(weights="bundled")
    for backbone, zero in ((plain, 0.0), (signed, -0.0)):
        with torch.no_grad():
            next(backbone.blocks.parameters()).view(-1)[0] = zero
    for backbone in (plain, BundledBackbone(weights="bundled"), plain, signed, plain, signed):
        assert prefix_digests(backbone) == hashed(backbone)
    assert prefix_digests(plain) != prefix_digests(signed)


@pytest.mark.usefixtures("nothing_known")
def test_weights_that_need_too_much_memory_are_hashed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key, "free_memory", lambda: 1000)
    backbones = [BundledBackbone(weights="bundled") for _ in range(3)]
    assert len({tuple(prefix_digests(backbone)) for backbone in backbones}) == 1
    assert not any(held())
