"""torch.compile for blocks and head that train: each one in place, so that parameter names and checkpoint keys stay."""

from collections.abc import Sequence
from functools import cache
from types import MethodType

import torch
from torch import Tensor, nn

from frostline.errors import first_line
from frostline.frozen.compile import MOST_VARIANTS, allow_variants

# Floating-point operations from which compiling pays: a count, so that a resume decides the same on any machine. On
# accelerators compiling takes minutes, and its gain is not measured; on CPUs a compiled step is slower
# (benchmarks/step_choices.py).
TRAINING_PAYS = {"cpu": float("inf"), "other": 1e17}
VARIANTS = 8  # per part: training or not, frozen or not, ...; torch's default limit, which it applies to all together


def compile_in_place(parts: Sequence[nn.Module]) -> None:
    """Compile the `forward` of each part, and discard what was compiled before.

    Batch sizes are dynamic: those of an epoch differ by one, and an evaluation or a resume meets them in another order,
    which must not change a result. `part.compile()` would include FSDP's hooks, which torch fails to compile.
    """
    torch.compiler.reset()
    allow_variants(MOST_VARIANTS + VARIANTS * len(parts))
    for part in parts:
        part.forward = torch.compile(MethodType(type(part).forward, part), dynamic=True)


def training_pays(flops: float, device: torch.device) -> bool:
    """Whether compiling pays. flops: of the layers that train, forward and backward, in the whole run."""
    return flops >= TRAINING_PAYS["cpu" if device.type == "cpu" else "other"]


@cache
def compiler_problem(device: torch.device) -> str | None:
    """Try to compile for this device. Return the error (usually a missing compiler), or None."""
    try:
        torch.compile(_some_kernel)(torch.ones(2, device=device))
    except RuntimeError as error:
        return first_line(error)
    return None


def _some_kernel(x: Tensor) -> Tensor:
    return x.sin() + 1
