"""Batches for tests of tasks, which look at targets alone."""

import torch
from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.tasks.base import Task


def batch(targets: Tensor) -> Batch:
    return Batch(torch.zeros(len(targets)), targets, torch.arange(len(targets)))


def loss_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The sum of the terms."""
    return torch.stack([*task.loss(outputs, batch(targets)).values()]).sum()


def decoded(task: Task, outputs: Tensor) -> Tensor:
    """(B, ...) of equal predictions."""
    return torch.stack(task.decode(outputs, batch(outputs)))
