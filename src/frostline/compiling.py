"""torch.compile: of what trains, part by part and in place, so that names of parameters and the keys of a checkpoint
stay; of frozen blocks, copies that serve nothing else."""

from collections.abc import Callable, Sequence
from functools import cache
from types import MethodType

import torch
from torch import Tensor, nn

from frostline.errors import first_line

# What compilation has to pay for, in floating-point operations: the same answer in a resume, however fast a machine is.
# Frozen blocks take up to 10 s on CPUs, and gain 9 and 17 % with AVX512-BF16 (ResNet-50 and 18, frozen_speed.py among
# the benchmarks): at 0.1 TFLOP/s a thread that is won back by then. On an H200 they were 0.99, 1.11 and (bundled) 0.72
# times as fast. What trains is compiled on accelerators, in minutes, and what that gains is not measured; on CPUs it is
# slower compiled than not (step_choices.py).
FROZEN_PAYS = {"cpu": 1e13, "other": float("inf")}  # on CPUs a thread
TRAINING_PAYS = {"cpu": float("inf"), "other": 1e17}
MOST_BLOCKS = 64  # that share their class's `forward`, over which torch counts its limit
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


def frozen_pays(flops: float, device: torch.device) -> bool:
    """flops: of frozen blocks, in one pass over the data."""
    return flops >= (FROZEN_PAYS["cpu"] * torch.get_num_threads() if device.type == "cpu" else FROZEN_PAYS["other"])


def training_pays(flops: float, device: torch.device) -> bool:
    """flops: of what trains, forward and backward, in all of a run."""
    return flops >= TRAINING_PAYS["cpu" if device.type == "cpu" else "other"]


def compiled_for_inference(block: nn.Module) -> Callable[[Tensor], Tensor]:
    """For inputs of one shape, its weights taken in as constants, which lie then as the kernels want them."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_BLOCKS)
    compiled: Callable[[Tensor], Tensor] = torch.compile(block, dynamic=False, options={"freezing": True})
    return compiled


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
