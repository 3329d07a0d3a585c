"""torch.compile for frozen blocks: decide whether it pays, and compile a copy for inference."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Floating-point operations from which compiling pays: a count, so that a resume decides the same on any machine.
# Compiling takes up to 10 s on CPUs, and saves 9 and 17 % with AVX512-BF16 (ResNet-50 and 18,
# benchmarks/frozen_speed.py): at 0.1 TFLOP/s per thread, 1e13 operations win that back. On an H200 compiled blocks ran
# 0.99, 1.11 and (bundled) 0.72 times as fast.
FROZEN_PAYS = {"cpu": 1e13, "other": float("inf")}  # per thread on CPUs
MOST_VARIANTS = 1024  # of one `forward`, which blocks of a class share, those of all networks of a sweep among them


def frozen_pays(flops: float, device: torch.device) -> bool:
    """Whether compiling pays. flops: of all frozen blocks, in one pass over the data."""
    return flops >= (FROZEN_PAYS["cpu"] * torch.get_num_threads() if device.type == "cpu" else FROZEN_PAYS["other"])


def compiled_for_inference(block: nn.Module) -> Callable[[Tensor], Tensor]:
    """Compile a block for inputs of one shape, with its weights as constants in the layout that kernels prefer."""
    allow_variants(MOST_VARIANTS)
    compiled: Callable[[Tensor], Tensor] = torch.compile(block, dynamic=False, options={"freezing": True})
    return compiled


def allow_variants(number: int) -> None:
    """Let torch compile `number` variants of one `forward`. It runs those beyond its limits uncompiled, with other
    bits."""
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, number)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, number)
