"""Whether all ranks hold the same numbers, to the bit, and learn the same."""

import hashlib

import torch
from torch import Tensor, nn

from frostline.errors import RankError
from frostline.sharding import whole


def require_agreement(parts: dict[str, nn.Module], *, where: str) -> None:
    """Compares every parameter and buffer over the ranks. Of a sharded one, what each rank gathers: no number of it is
    held twice. Raises RankError, on every rank, that names the first.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    own = {f"{part}.{name}": _digest(value) for part, module in parts.items() for name, value in _tensors(module)}
    everyone: list[dict[str, tuple[bool, str]]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(everyone, own)
    differing = [name for name in own if len({rank.get(name) for rank in everyone}) > 1]
    if differing:
        raise RankError(
            f"the ranks differ in {len(differing)} of {len(own)} tensors, such as {differing[0]}: in numbers, or in "
            "whether they learn",
            where=where,
            next_step="report it, with the command; a callback that changes weights on one rank alone would do this",
        )


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _digest(value: Tensor) -> tuple[bool, str]:
    """Whether it learns, and what it holds."""
    numbers = whole(value.detach()).cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return value.requires_grad, hashlib.blake2b(numbers.data).hexdigest()
