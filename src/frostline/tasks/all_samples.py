"""Gather samples for scores that need all at once. Shapes: N samples over all batches and ranks, K outputs."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Gathered(Metric):
    """Outputs and targets, (N, K) each."""

    full_state_update = False
    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("outputs", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.outputs.append(outputs.detach().float())
        self.targets.append(targets.detach())

    def samples(self) -> tuple[Tensor, Tensor]:
        """What `compute` returns, for one number too, which torchmetrics squeezes to ()."""
        outputs, targets = (it if it.ndim else it.reshape(1, 1) for it in self.compute())
        return outputs, targets

    def compute(self) -> tuple[Tensor, Tensor]:
        """(N, K) outputs and targets in float64, so that long sums stay precise; on the CPU, as not every device has
        float64."""
        outputs, targets = (dim_zero_cat(state).cpu() for state in (self.outputs, self.targets))
        return outputs.to(torch.float64), targets.to(torch.float64)
