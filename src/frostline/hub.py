"""Detect whether the Hugging Face hub can be reached."""

import os
import socket
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies


@cache
def go_offline() -> bool:
    """Set huggingface_hub offline if the hub's host name cannot be resolved, and return whether it was set. Otherwise
    the library tries each file five times, half a minute. Call before importing `transformers`, `timm` or `datasets`.
    """
    if getproxies():  # the proxy may be able to resolve the name
        return False
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        import huggingface_hub.constants

        huggingface_hub.constants.HF_HUB_OFFLINE = True
        return True
    return False
