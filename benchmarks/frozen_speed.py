"""Measure the frozen blocks alone: pictures/s of a forward pass in four ways, and when compiling pays.

python benchmarks/frozen_speed.py [rounds]

ResNet-50 and ResNet-18 at 224 pixels, and the bundled network at 32; random weights, one batch of random pictures in
memory. `plain` is float32 as in tutorials, `autocast` bf16 and channels_last, `folded` the pure bf16 copy with norms
folded in, `compiled` that copy under torch.compile. Medians of alternating rounds. Aim on a CPU with AMX: at least 6
times `plain`. `pays from`: number of pictures after which compiling has saved its own time. `away`: relative distance
of the features from float32's, next to autocast's.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.frozen.blocks import FrozenPass
from machine import DEVICE, bf16, done, in_turns, write_result

AIM = 6.0
JOBS: dict[str, tuple[Callable[[], Backbone], int, int]] = {
    "resnet50, 224 pixels": (lambda: TorchvisionBackbone("resnet50", weights=None), 224, 32),
    "resnet18, 224 pixels": (lambda: TorchvisionBackbone("resnet18", weights=None), 224, 64),
    "bundled, 32 pixels": (lambda: BundledBackbone(weights=None), 32, 512),
}


def main(rounds: int) -> None:
    rows: list[dict[str, Any]] = []
    for name, (make, side, size) in JOBS.items():
        torch.manual_seed(0)
        pictures = torch.randn(size, 3, side, side).to(DEVICE)
        row: dict[str, Any] = {"job": name, "pictures": size} | measured(make().eval().to(DEVICE), pictures, rounds)
        rows.append(row)
        speeds = "   ".join(f"{way} {speed:7.1f} ({speed / row['per_second']['plain']:.2f} ×)"
                            for way, speed in row["per_second"].items())  # fmt: skip
        print(f"{name:22} {speeds}")
        paid = f"compiled in {row['compile_seconds']:.0f} s, pays from {row['pays_from']} pictures"
        print(f"{'':22} {paid}; away {row['away']['folded']:.4f}, autocast {row['away']['autocast']:.4f}", flush=True)
    print(f"aim: {AIM:g} × with AMX\n{write_result('frozen_speed', rows)}")


def measured(backbone: Backbone, pictures: Tensor, rounds: int) -> dict[str, Any]:
    stop, last = len(backbone.blocks), pictures.contiguous(memory_format=torch.channels_last)
    folded, compiled = (FrozenPass(backbone, torch.bfloat16, compiles=way) for way in (False, True))
    begun = done()
    folded(last, 0, stop)
    middle = done()
    compiled(last, 0, stop)
    compile_seconds = done() - middle - (middle - begun)
    ways: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: _plain(backbone, pictures),
        "autocast": lambda: _autocast(backbone, last),
        "folded": lambda: _passed(folded, last, stop),
        "compiled": lambda: _passed(compiled, last, stop),
    }
    each = {way: seconds / len(pictures) for way, seconds in in_turns(ways, rounds).items()}
    exact = ways["plain"]()
    won = each["folded"] - each["compiled"]
    return {
        "per_second": {way: 1 / value for way, value in each.items()},
        "compile_seconds": compile_seconds,
        "pays_from": round(compile_seconds / won) if won > 0 else None,
        "away": {way: float((call().float() - exact).norm() / exact.norm()) for way, call in ways.items()},
    }


def _passed(frozen_pass: FrozenPass, pictures: Tensor, stop: int) -> Tensor:
    features = frozen_pass(pictures, 0, stop)
    assert isinstance(features, Tensor)
    return features


def _plain(backbone: Backbone, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        features: Tensor = backbone(pictures)
    return features


def _autocast(backbone: Backbone, pictures: Tensor) -> Tensor:
    with torch.no_grad(), bf16():
        features: Tensor = backbone(pictures)
    return features


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
