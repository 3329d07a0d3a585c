"""torch.compile, part by part and in place, so that names of parameters and the keys of a checkpoint stay."""

from collections.abc import Sequence
from functools import cache
from types import MethodType

import torch
from torch import Tensor, nn

from frostline.errors import first_line

VARIANTS = 8  # of each part: training or not, frozen or not, ... ; torch's own limit, which it counts over all parts


def compile_in_place(parts: Sequence[nn.Module]) -> None:
    """Afresh: what was compiled before is forgotten.

    For any batch size: those of an epoch differ by one, and an evaluation or a resume meets them in another order,
    which must not change a result. `forward` alone: at the hooks of FSDP, which `part.compile()` would take in, torch
    gives a part up.
    """
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = VARIANTS * len(parts)
    for part in parts:
        part.forward = torch.compile(MethodType(type(part).forward, part), dynamic=True)


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
