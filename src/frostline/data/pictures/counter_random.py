"""Random numbers as a function of (seed, epoch, sample). Without a sequence, a resume has nothing to replay, and a
sample's augmentation does not depend on its batch, rank or device."""

import torch
from torch import Tensor

# splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17).
GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def uniform(seed: int, epoch: int, index: Tensor, draws: int) -> Tensor:
    """(B,) sample indices → (B, draws) numbers in [0, 1), float32, on the device of `index`."""
    key = _mix_int(_mix_int(seed) ^ (epoch * GOLDEN))
    counter = torch.arange(1, draws + 1, device=index.device) * _signed(GOLDEN)
    mixed = _mix(_mix(index * _signed(GOLDEN) + _signed(key)).unsqueeze(1) + counter)
    return _shifted(mixed, 40).float() / 2**24  # the upper 24 bits: the precision of float32


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _signed(MIX_1)
    x = (x ^ _shifted(x, 27)) * _signed(MIX_2)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix_int(x: int) -> int:
    x = (x + GOLDEN) % 2**64
    x = (x ^ x >> 30) * MIX_1 % 2**64
    x = (x ^ x >> 27) * MIX_2 % 2**64
    return x ^ x >> 31


def _signed(x: int) -> int:
    """Reinterpret 64 bits as a signed integer."""
    x %= 2**64
    return x - 2**64 if x >= 2**63 else x
