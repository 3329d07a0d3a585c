"""How many samples frozen blocks take at a time, and to which lengths texts are padded."""

from functools import cache

import torch

from frostline.contracts.specs import Spec
from frostline.contracts.tokens import values_of

SMALL = 64  # pixels a side
# (most, step): texts of up to `most` tokens are padded to a multiple of `step`. On trec6 (8 to 40 tokens) two threads
# with AVX512-BF16 processed 9,600 tokens/s in steps of 4 and chunks of 32; 2 to 10 % fewer in steps of 8 or 2, or in
# chunks of 64 or 16.
WIDTHS = ((32, 4), (64, 8), (128, 16), (1 << 30, 32))
TOKENS = 2048  # per chunk of long texts on CPUs, unless FEWEST texts have more; 8 times as many elsewhere
FEWEST = 8  # texts per chunk; chunk sizes are powers of two, so that the smaller divide the larger
# Most texts per chunk. On an H200 chunks of 32 short texts took 5 ms each (82,534 tokens/s, text_step.py, 2026-11-27),
# far more than their arithmetic; larger ones are not measured. Batches that are not cached are padded to as many.
MOST = {"cpu": 32, "other": 128}
STEM = 4  # times fewer sounds per chunk in the first block: their values take more memory there than tokens later


def chunk_of(spec: Spec, device: torch.device) -> int:
    """Samples per chunk. With 4, some networks (mobilenet_v3_small, densenet121) gave different bits on two threads
    than on one; CPUs are fastest with 16 at 224 pixels and with 64 at 32 pixels; accelerators need more.
    """
    if spec.ragged:
        return 8 * MOST["cpu" if device.type == "cpu" else "other"]  # sorted by length, so that few are padded
    return (64 if _width(spec) <= SMALL else 16) * (1 if device.type == "cpu" else 4)


@cache
def _width(spec: Spec) -> int:
    """Pixels of an input from left to right."""
    return values_of(spec.example()).shape[-1]  # type: ignore[arg-type]  # not of several parts


def texts_of(width: int, device: torch.device) -> int:
    """Texts of `width` tokens per chunk."""
    tokens, most = (TOKENS, MOST["cpu"]) if device.type == "cpu" else (TOKENS * 8, MOST["other"])
    return min(max(1 << (max(tokens // width, 1).bit_length() - 1), FEWEST), most)
