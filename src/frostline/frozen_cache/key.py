"""What an entry of the frozen cache is of, as a key: everything that its numbers depend on, and nothing else."""

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from frostline.backbones.base import Backbone

LAYOUT = 1  # of entries, and of how frozen work is done: another number forgets all that was kept


def key_of(said: dict[str, Any]) -> str:
    """The same for the same plain values, whatever their order."""
    text = json.dumps({"layout": LAYOUT} | said, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def prefix_digests(backbone: Backbone) -> list[str]:
    """For 0, 1, ... all blocks: of their structure and weights, from the stem up; the last one with the pool."""
    digest = hashlib.blake2b(f"{backbone.name}\n".encode(), digest_size=20)
    found = [digest.hexdigest()]
    for name, block in backbone.blocks.items():
        digest.update(f"{name}\n{block}\n".encode())
        for key, value in block.state_dict().items():
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(_bytes(value))
        found.append(digest.hexdigest())
    digest.update(f"{backbone.pool}\n".encode())
    return [*found[:-1], digest.hexdigest()]


def hardware(device: torch.device) -> str:
    """Other hardware rounds otherwise."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    able = [name for name, has in sorted(torch.cpu.get_capabilities().items()) if has is True]
    return f"cpu {' '.join(able)}"


def _bytes(value: Tensor) -> memoryview:
    return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
