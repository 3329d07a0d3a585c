"""torch.compile of what trains, part by part and in place, so that the names of parameters and the keys of a checkpoint
stay."""

from collections.abc import Sequence
from functools import cache
from types import MethodType

import torch
from torch import Tensor, nn

from frostline.errors import first_line
from frostline.frozen.compile import MOST_BLOCKS

# What compilation has to pay for, in floating-point operations: the same answer in a resume, however fast a machine is.
# What trains is compiled on accelerators, in minutes, and what that gains is not measured; on CPUs it is slower
# compiled than not (step_choices.py among the benchmarks).
TRAINING_PAYS = {"cpu": float("inf"), "other": 1e17}
VARIANTS = 8  # of each part: training or not, frozen or not, ... ; torch's own limit, which it counts over all parts


def compile_in_place(parts: Sequence[nn.Module]) -> None:
    """Afresh: what was compiled before is forgotten.

    For any batch size: those of an epoch differ by one, and an evaluation or a resume meets them in another order,
    which must not change a result. `forward` alone: at the hooks of FSDP, which `part.compile()` would take in, torch
    gives a part up.
    """
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MOST_BLOCKS + VARIANTS * len(parts)
    for part in parts:
        part.forward = torch.compile(MethodType(type(part).forward, part), dynamic=True)


def training_pays(flops: float, device: torch.device) -> bool:
    """flops: of what trains, forward and backward, in all of a run."""
    return flops >= TRAINING_PAYS["cpu" if device.type == "cpu" else "other"]


@cache
def compiler_problem(device: torch.device) -> str | None:
    """Why torch cannot compile for this device here (no compiler, as a rule), by trying; None where it can."""
    try:
        torch.compile(_some_kernel)(torch.ones(2, device=device))
    except RuntimeError as error:
        return first_line(error)
    return None


def _some_kernel(x: Tensor) -> Tensor:
    return x.sin() + 1
