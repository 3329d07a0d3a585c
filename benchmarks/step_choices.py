"""Measure the choices behind a step's defaults: compiled or not, fused optimizers or not, seeding one or all devices.

python benchmarks/step_choices.py [rounds]

A whole training step in bf16 (forward, backward, AdamW), compiled block by block as by trainer.compile=true, against
the same step uncompiled; an optimizer step alone over the weights of ResNet-50; and the seeding of a step's random
numbers. Medians of alternating rounds; the first call, which compiles, is reported separately.
"""

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer

from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.training.compiling import compile_in_place
from machine import DEVICE, bf16, done, in_turns, write_result

STEPS: dict[str, tuple[Callable[[], Backbone], int, int]] = {
    "bundled, 32 pixels, batch 128": (lambda: BundledBackbone(weights=None), 32, 128),
    "resnet18, 224 pixels, batch 16": (lambda: TorchvisionBackbone("resnet18", weights=None), 224, 16),
}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"AdamW": AdamW, "SGD": partial(SGD, momentum=0.9, nesterov=True)}


def main(rounds: int) -> None:
    rows = [compiled(name, rounds) for name in STEPS] + [fused(name, rounds) for name in OPTIMIZERS] + [seeded(rounds)]
    for row in rows:
        ways = "   ".join(f"{way} {1000 * seconds:.3f} ms" for way, seconds in row["seconds"].items())
        first = f"   compiled in {row['compile_seconds']:.0f} s" if "compile_seconds" in row else ""
        print(f"{row['what']:32} {ways}{first}")
    print(write_result("step_choices", rows))


def compiled(name: str, rounds: int) -> dict[str, Any]:
    make, side, size = STEPS[name]
    plain = (
        nn.ModuleList([make(), nn.Linear(make().features.width, 10)]).to(DEVICE).to(memory_format=torch.channels_last)
    )
    backbone, head = other = copy.deepcopy(plain)
    assert isinstance(backbone, Backbone)
    compile_in_place([*backbone.blocks.values(), head])
    inputs = torch.randn(size, 3, side, side, device=DEVICE).contiguous(memory_format=torch.channels_last)
    ways = {way: step_of(model, inputs) for way, model in (("plain", plain), ("compiled", other))}
    begun = done()
    ways["compiled"]()
    seconds = done() - begun
    return {"what": name, "seconds": in_turns(ways, rounds), "compile_seconds": seconds}


def step_of(model: nn.ModuleList, inputs: torch.Tensor) -> Callable[[], None]:
    optimizer = AdamW(model.parameters(), lr=1e-4, fused=True)
    targets = torch.arange(len(inputs), device=DEVICE) % 10

    def step() -> None:
        with bf16():
            loss = cross_entropy(model[1](model[0](inputs)), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def fused(name: str, rounds: int) -> dict[str, Any]:
    weights = list(TorchvisionBackbone("resnet50", weights=None).to(DEVICE).parameters())
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    ways = {way: OPTIMIZERS[name](weights, lr=1e-5, fused=way == "fused").step for way in ("plain", "fused")}
    return {"what": f"{name} on ResNet-50's weights", "seconds": in_turns(ways, rounds)}


def seeded(rounds: int) -> dict[str, Any]:
    ways = {"every device": lambda: torch.manual_seed(1), "one": lambda: torch.default_generator.manual_seed(1)}
    return {"what": "seed of a step", "seconds": in_turns(ways, 20 * rounds)}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
