"""Keys of cached outputs contain library versions and the number of threads."""

from collections.abc import Iterator
from importlib import metadata

import pytest
import torch

from frostline.data import sample_cache
from frostline.frozen.key import _version, machine
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
