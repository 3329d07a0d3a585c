"""Whether the hub of models and data sets can be reached from here."""

import os
import socket
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies


@cache
def go_offline() -> bool:
    """If the name of the hub cannot be resolved, tell its library: else that tries each file five times, half a minute.
    Call it before `transformers`, `timm` or `datasets` are imported."""
    if getproxies():  # the proxy may know the name
        return False
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        import huggingface_hub.constants

        huggingface_hub.constants.HF_HUB_OFFLINE = True
        return True
    return False
