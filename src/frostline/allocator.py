"""Memory of large tensors on CPUs, kept by the process from step to step.

glibc maps each tensor above 32 MB anew and gives it back when it is freed, so every step faults all of its pages in
again. With these settings a training step of EfficientNet-Lite0 (64 pictures of 128 pixels, two threads, AMD EPYC,
torch 2.14, 2026-11-28) took 1.5 to 1.8 s instead of 2.4 to 2.7, with 5 to 15 % more memory at its peak; one of
ResNet-18 took as long.
"""

import ctypes
import sys

# mallopt(3): the parameter, and its value.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
SETTINGS = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, ARENA_MAX: 1}


def keep_freed_memory() -> bool:
    """For the rest of the process. Gives whether the C library took the settings: other libraries have no such."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(bool(mallopt(name, value)) for name, value in SETTINGS.items())
