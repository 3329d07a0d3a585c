"""Measure pictures/s of full fine-tuning, and of a head on cached features: Frostline next to loops of other tools.

python benchmarks/full_step.py [rounds] [steps] [part of a job's name]        (peers if installed: timm; transformers
                                                        with accelerate; rows left out are reported)

All ways train the same network, from random weights, on the same number of uint8 pictures in memory, without
augmentation, by AdamW. Each round is an epoch of `steps` steps in each way, in sequence; the first WARM steps of each
epoch and the first round are left out. Medians. On a GPU batches are eight times as large. All ways but the plain loop
compute in bfloat16, Frostline by trainer.precision, as it would not choose bfloat16 on hardware without it.

Aims: at least 2.5 times the plain float32 loop (on AMX), ahead of timm's loop and of Hugging Face's Trainer, at most
2 % behind the hand-tuned loop; and the head on cached features at the speed of a bare loop over tensors. `of peak` is
the network's forward and backward (FlopCounterMode) as a share of the fastest bfloat16 product of square matrices.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from drawn import CLASSES, Phase, configured
from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.commands.train import quiet
from frostline.contracts.specs import ImageSpec
from frostline.heads.vector import LinearHead
from machine import DEVICE, bf16, done, write_result
from step_ways import PEERS, RATE, Batches, Make, Way, hand_tuned, plain

WARM = 3
TIMES = 8 if DEVICE.type == "cuda" else 1  # factor on the batch size
JOBS: dict[str, tuple[str, Callable[[], Backbone], int, int]] = {
    "ResNet-50, 224 pixels, batch 16": ("resnet50", lambda: TorchvisionBackbone("resnet50", weights=None), 224, 16),
    "bundled, 32 pixels, batch 64": ("bundled", lambda: BundledBackbone(weights=None), 32, 64),
    "bundled, 32 pixels, batch 128": ("bundled", lambda: BundledBackbone(weights=None), 32, 128),
}
HEADS = {"head on 2,048 features, batch 64": "resnet50", "head on 208 features, batch 64": "bundled"}
HEAD_BATCH, HEAD_STEPS = 64, 10  # factor on the number of steps
SQUARES = (1024, 2048, 3072, 4096, *((8192,) if DEVICE.type == "cuda" else ()))  # sides of the matrices
AIMS = {"plain loop": 2.5, "timm's loop": 1.0, "Hugging Face Trainer": 1.0, "hand-tuned loop": 0.98}


def main(rounds: int, steps: int, part: str) -> None:
    quiet()
    peak = matmul_peak()
    print(f"bfloat16 products of square matrices: {peak / 1e9:,.0f} GFLOP/s, {torch.get_num_threads()} threads\n")
    rows: list[dict[str, Any]] = [{"job": "matmul", "flops_per_second": peak, "threads": torch.get_num_threads()}]
    for name in (name for name in (*JOBS, *HEADS) if part in name):
        with tempfile.TemporaryDirectory() as folder:
            row = whole(name, Path(folder), rounds, steps) if name in JOBS else head(name, Path(folder), rounds, steps)
        rows.append(row)
        show(row, peak)
    print(write_result("full_step", rows))


def whole(name: str, folder: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Measure full fine-tuning."""
    model, backbone, side, few = JOBS[name]
    size = few * TIMES
    number = size * steps
    spec = backbone().spec
    assert isinstance(spec, ImageSpec)
    batches = Batches(number, side, size, spec.at(side))

    def network() -> nn.Module:
        made = backbone()
        return nn.Sequential(made, LinearHead(made.features, CLASSES, dropout=0.0))

    ways: dict[str, Way] = {"plain loop": plain(network, batches, WARM),
                            "hand-tuned loop": hand_tuned(network, batches, WARM)}  # fmt: skip
    left_out = {}
    for peer, make in PEERS.items():
        try:
            ways[peer] = make(network, batches, WARM)
        except ImportError as error:
            left_out[peer] = str(error)
    ways["Frostline"] = Phase(
        configured(folder, number, side, f"model={model}", "model.weights=null", f"data.batch_size={size}",
                   "trainer.precision=bf16-mixed", "schedule=full", f"schedule.phases.all.epochs={rounds + 1}"),
        WARM,
    ).epoch  # fmt: skip
    return {"job": name, "batch": size, "flops_per_sample": flops(network, side, size), "left_out": left_out,
            **measured(ways, size, rounds)}  # fmt: skip


def head(name: str, folder: Path, rounds: int, steps: int) -> dict[str, Any]:
    """Measure a linear head on features from the frozen cache, and from a tensor, both in bfloat16."""
    number = HEAD_BATCH * steps * HEAD_STEPS
    phase = Phase(
        configured(folder, number, 32, f"model={HEADS[name]}", "model.weights=null", f"data.batch_size={HEAD_BATCH}",
                   "trainer.precision=bf16-mixed", "cache=always", "schedule=head_only",
                   "schedule.every_phase.solve=false",
                   f"schedule.phases.head.epochs={rounds + 1}"),
        WARM,
    )  # fmt: skip
    width = phase.built.model.backbone.features.width
    features = torch.randn(number, width, device=DEVICE).bfloat16()
    targets = torch.arange(number, device=DEVICE) % CLASSES
    ways = {"bare loop": lambda: bare_head(features, targets), "Frostline": phase.epoch}
    return {"job": name, "batch": HEAD_BATCH, "left_out": {}, **measured(ways, HEAD_BATCH, rounds)}


def bare_head(features: Tensor, targets: Tensor) -> float:
    linear = nn.Linear(features.shape[1], CLASSES, device=DEVICE)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=RATE, fused=True)
    order = torch.randperm(len(features)).split(HEAD_BATCH)
    for number, places in enumerate(order):
        if number == WARM:
            begun = done()
        optimizer.zero_grad(set_to_none=True)
        with bf16():
            loss = cross_entropy(linear(features[places]), targets[places])
        loss.backward()
        optimizer.step()
    return (done() - begun) / (len(order) - WARM)


def measured(ways: dict[str, Way], size: int, rounds: int) -> dict[str, Any]:
    """Return seconds per step of every round, and the medians as samples per second."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            seconds[name].append(way())
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first round warms up
    return {"seconds_per_step": seconds, "samples_per_second": {name: size / value for name, value in medians.items()}}


def show(row: dict[str, Any], peak: float) -> None:
    rates = row["samples_per_second"]
    print(row["job"])
    for name, rate in rates.items():
        share = f"   {rate * row['flops_per_sample'] / peak:6.1%} of peak" if "flops_per_sample" in row else ""
        ratio = rates["Frostline"] / rate
        aim = f"   Frostline {ratio:.2f} × it" if name != "Frostline" else ""
        aim += f", aim {AIMS[name]} ×" if name in AIMS else ""
        print(f"  {name:22} {rate:10,.1f} samples/s  {1e3 * row['batch'] / rate:9.3f} ms/step{share}{aim}", flush=True)
    for name, reason in row["left_out"].items():
        print(f"  {name:22} left out: {reason}")
    print()


def flops(make: Make, side: int, size: int) -> float:
    """FLOPs of forward and backward per sample, without the gradient of the pictures, which is not computed."""
    model = make().train()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(size, 3, side, side)).sum().backward()
    return counter.get_total_flops() / size


def matmul_peak() -> float:
    """The best FLOP/s of bfloat16 products of square matrices over several sizes, six tries each."""
    best = 0.0
    for side in SQUARES:
        a, b = (torch.randn(side, side, device=DEVICE).bfloat16() for _ in range(2))
        for _ in range(6):
            begun = done()
            a @ b
            best = max(best, 2 * side**3 / (done() - begun))
    return best


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 5, int(given[1]) if len(given) > 1 else 20, given[2] if len(given) > 2 else "")
