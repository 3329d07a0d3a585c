"""Gather tensors over the ranks so that gradients flow back to the rank that each row came from."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function


class Together(NamedTuple):
    """rows (N, ...) of all ranks, rank after rank. This rank's own begin at `start`."""

    rows: Tensor
    start: int


def together(own: Tensor) -> Together:
    """Concatenate the rows (n, ...) of all ranks; n may differ between them. In one process, its own rows.

    The gradient of a rank's rows is the sum over the ranks of the gradients of their losses: with a loss over its own
    rows on each rank, that is the gradient of the sum of these losses. Collective, forward and backward.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return Together(own, 0)
    size = torch.tensor([len(own)], device=own.device)
    sizes = [torch.zeros_like(size) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(sizes, size)
    counts = [int(it) for it in sizes]
    rows: Tensor = _Gather.apply(own, counts)
    return Together(rows, sum(counts[: torch.distributed.get_rank()]))


class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: list[int]) -> Tensor:
        ctx.start = sum(counts[: torch.distributed.get_rank()])
        ctx.number = len(own)
        padded = own.new_zeros(max(counts), *own.shape[1:])  # all_gather needs one shape on all ranks
        padded[: len(own)] = own
        ranks = [torch.empty_like(padded) for _ in counts]
        torch.distributed.all_gather(ranks, padded)
        return torch.cat([rows[:count] for rows, count in zip(ranks, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.number], None
