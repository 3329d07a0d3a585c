"""Two parts of a frozen-cache key: digests of the weights, and whatever may change rounding."""

import hashlib
from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from frostline.adapters.layers import settings_of
from frostline.backbones.base import Backbone


def prefix_digests(backbone: Backbone) -> list[str]:
    """Digests of structure and weights for the first 0, 1, ... all blocks; the last one includes the pool."""
    digest = hashlib.blake2b(f"{backbone.name}\n".encode(), digest_size=20)
    found = [digest.hexdigest()]
    for name, block in backbone.blocks.items():
        digest.update(f"{name}\n{block}\n{settings_of(block)}".encode())
        for key, value in block.state_dict().items():
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(_bytes(value))
        found.append(digest.hexdigest())
    digest.update(f"{backbone.pool}\n".encode())
    return [*found[:-1], digest.hexdigest()]


def machine(device: torch.device) -> list[Any]:
    """Device, library versions, CPU features and threads. Pillow is included as it decodes and resizes pictures."""
    versions = [_version(name) for name in ("torch", "torchvision", "pillow")]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    able = [name for name, has in sorted(torch.cpu.get_capabilities().items()) if has is True]
    return [name, *versions, torch.are_deterministic_algorithms_enabled(), able, torch.get_num_threads()]


@cache
def _version(name: str) -> str:
    """Of what this process has imported: an installation that changes meanwhile does not change it."""
    return metadata.version(name)


def _bytes(value: Tensor) -> memoryview:
    return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
