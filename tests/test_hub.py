"""Whether the hub can be reached is asked once, before its library tries each file again and again."""

import socket
from collections.abc import Iterator

import huggingface_hub.constants
import pytest

from frostline.hub import go_offline


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    go_offline.cache_clear()
    yield
    go_offline.cache_clear()


def refuse(host: str, port: int) -> None:
    raise socket.gaierror(-2, "Name or service not known")


def test_without_the_name_the_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert go_offline()
    assert huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_name_that_resolves_or_a_proxy_leaves_the_library_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port: asked.append(host))
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example:8443")
    assert not go_offline()
    assert asked == ["mirror.example"]
    go_offline.cache_clear()
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert not go_offline()
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
