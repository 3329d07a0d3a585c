"""Check that all ranks are alive, start the same run, and hold bit-identical tensors with the same requires_grad."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.distributed.sharding import whole
from frostline.errors import RankError, first_line


def require_agreement(parts: dict[str, nn.Module], *, where: str) -> None:
    """Compare every parameter and buffer across the ranks. A sharded tensor is gathered first, as its shards do not
    overlap. Raises RankError on every rank if any tensor differs, and names the first.
    """
    if not _several():
        return
    own = {f"{part}.{name}": _digest(value) for part, module in parts.items() for name, value in _tensors(module)}
    everyone = _gathered(own)
    differing = [name for name in own if len({rank.get(name) for rank in everyone}) > 1]
    if differing:
        raise RankError(
            f"the ranks differ in {len(differing)} of {len(own)} tensors, such as {differing[0]}: in values, or in "
            "whether they learn",
            where=where,
            next_step="report it, with the command; a callback that changes weights on only one rank can cause this",
        )


def require_one_run(own: dict[str, Any], *, where: str) -> None:
    """Compare `own` across the ranks: plain values that describe what this rank is about to train and where it starts.

    Raises RankError on every rank if they differ: a host may hold other data, or not see a checkpoint that others see.
    """
    if not _several():
        return
    everyone = _gathered(own)
    other = [name for name in own if any(rank.get(name) != everyone[0].get(name) for rank in everyone)]
    if other:
        differences = "; ".join(f"{name}: {[rank.get(name) for rank in everyone]}" for name in other)
        raise RankError(
            f"the ranks are about to train different things: {differences[:500]}",
            where=where,
            next_step="use the same command, data and Frostline on every host, and a run_dir that all of them see",
        )


@contextmanager
def others_present(folder: Path) -> Iterator[None]:
    """Raise RankError if the enclosed code loses contact with another rank of the run."""
    try:
        yield
    except RuntimeError as error:
        of_torch = torch.distributed.is_available() and isinstance(error, torch.distributed.DistError)
        if not of_torch and "gloo" not in str(error).lower():
            raise
        raise RankError(
            f"lost contact with another rank of this run: {first_line(error)}",
            where=folder,
            next_step=f"read the error of that rank; resume={folder} continues the run, as does a restart by torchrun",
        ) from error


@contextmanager
def group_left() -> Iterator[None]:
    """Destroy the process group on exit: the next run of a sweep in this process creates its own."""
    try:
        yield
    finally:
        if _several():
            torch.distributed.destroy_process_group()


def _several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _gathered(own: dict[str, Any]) -> list[dict[str, Any]]:
    everyone: list[dict[str, Any]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(everyone, own)
    return everyone


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _digest(value: Tensor) -> tuple[bool, str]:
    """Return requires_grad and a hash of the tensor's bytes."""
    numbers = whole(value.detach()).cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return value.requires_grad, hashlib.blake2b(numbers.data).hexdigest()
