"""Two parts of a frozen-cache key: digests of the weights, and whatever may change rounding."""

import hashlib
import weakref
from functools import cache
from importlib import metadata
from itertools import zip_longest
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from frostline.adapters.layers import settings_of
from frostline.backbones.base import Backbone
from frostline.contracts.tree import same_bits
from frostline.storage.memory import SHARE, free_memory


class _Block(NamedTuple):
    """A block whose digest is known. text: its name, structure and the names of its weights. weights: copies on the
    CPU; None until a second backbone of the same structure asks, so that a single run holds nothing. digest: a hash of
    all that precedes, this block included."""

    text: str
    weights: list[Tensor] | None
    digest: Any


class _Last:
    """The blocks with which the last backbone began. The runs of a sweep begin with the same weights, and to compare
    these takes a fifth of the time of a hash."""

    backbone: weakref.ref[Backbone] | None = None
    blocks: ClassVar[list[_Block]] = []


def prefix_digests(backbone: Backbone) -> list[str]:
    """Digests of structure and weights for the first 0, 1, ... all blocks; the last one includes the pool."""
    begins = _Last.backbone is None or _Last.backbone() is not backbone
    holds = begins and sum(it.nbytes for it in backbone.state_dict().values()) < SHARE * free_memory()
    digest = hashlib.blake2b(f"{backbone.name}\n".encode(), digest_size=20)
    found, blocks, same = [digest.hexdigest()], list[_Block](), True
    for (name, block), last in zip_longest(backbone.blocks.items(), _Last.blocks[: len(backbone.blocks)]):
        state = block.state_dict()
        structure = f"{name}\n{block}\n{settings_of(block)}"
        said = [f"{key} {value.dtype} {tuple(value.shape)}\n" for key, value in state.items()]
        text = "\n".join([backbone.name, structure, *said])
        again = last is not None and last.text == text
        weights = last.weights if again else None
        same = same and weights is not None and all(map(_same, weights, state.values()))
        if same:
            digest = last.digest.copy()
        else:
            digest.update(structure.encode())
            for tensor, value in zip(said, state.values(), strict=True):
                digest.update(tensor.encode())
                digest.update(_bytes(value))
            weights = [value.detach().to("cpu", copy=True) for value in state.values()] if again and holds else None
        found.append(digest.hexdigest())
        blocks.append(_Block(text, weights, digest.copy()))
    if begins:
        _Last.backbone, _Last.blocks = weakref.ref(backbone), blocks
    digest.update(f"{backbone.pool}\n".encode())
    return [*found[:-1], digest.hexdigest()]


def _same(held: Tensor, value: Tensor) -> bool:
    return same_bits(held, value.detach().cpu())


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
