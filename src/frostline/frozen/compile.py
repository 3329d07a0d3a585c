"""torch.compile of frozen blocks: copies for inference that serve nothing else."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Floating-point operations that compiling has to pay for: the same answer in a resume, however fast a machine is.
# Frozen blocks take up to 10 s on CPUs, and gain 9 and 17 % with AVX512-BF16 (ResNet-50 and 18, frozen_speed.py among
# the benchmarks): at 0.1 TFLOP/s a thread that is won back by then. On an H200 they were 0.99, 1.11 and (bundled) 0.72
# times as fast.
FROZEN_PAYS = {"cpu": 1e13, "other": float("inf")}  # on CPUs a thread
MOST_BLOCKS = 64  # that share their class's `forward`, over which torch counts its limit


def frozen_pays(flops: float, device: torch.device) -> bool:
    """flops: of frozen blocks, in one pass over the data."""
    return flops >= (FROZEN_PAYS["cpu"] * torch.get_num_threads() if device.type == "cpu" else FROZEN_PAYS["other"])


def compiled_for_inference(block: nn.Module) -> Callable[[Tensor], Tensor]:
    """For inputs of one shape, its weights taken in as constants, which lie then as the kernels want them."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_BLOCKS)
    compiled: Callable[[Tensor], Tensor] = torch.compile(block, dynamic=False, options={"freezing": True})
    return compiled
