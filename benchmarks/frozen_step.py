"""Compare a head-only step with one forward pass of the frozen backbone, through which no gradient is computed.

python benchmarks/frozen_step.py [rounds]

The step is the FineTuner's own: forward, loss, backward and the optimizer, in float32, on one batch; the forward pass
is the backbone's under inference_mode. Medians of alternating rounds. Aim: at most 1.1 forward passes. The last column
is a step with a gradient through the whole backbone.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial, reduce

import torch
from torch import Tensor
from torch.optim import AdamW

from frostline.backbones.base import Backbone
from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.heads.vector import LinearHead
from frostline.plan.phase import Phase, Until
from frostline.tasks.classification import Classification
from frostline.training.finetuner import FineTuner
from machine import write_result

CLASSES = [str(number) for number in range(10)]
JOBS: dict[str, tuple[Callable[[], Backbone], int, int]] = {
    "bundled, 32 pixels": (lambda: BundledBackbone(weights=None), 32, 64),
    "resnet50, 224 pixels": (lambda: TorchvisionBackbone("resnet50", weights=None), 224, 16),
}


def main(rounds: int) -> None:
    rows = []
    for name, (make, side, size) in JOBS.items():
        seconds = measured(make().to(memory_format=torch.channels_last), side, size, rounds)
        ratios = {way: value / seconds["forward"] for way, value in seconds.items()}
        rows.append({"job": name, "batch": size, "seconds": seconds, "ratios": ratios})
        print(f"{name:22} forward {seconds['forward']:.3f} s   head-only step {ratios['head']:.3f} ×   "
              f"whole step {ratios['all']:.2f} ×")  # fmt: skip
    print(write_result("frozen_step", rows))


def measured(backbone: Backbone, side: int, size: int, rounds: int) -> dict[str, float]:
    inputs = torch.randn(size, 3, side, side).contiguous(memory_format=torch.channels_last)
    batch = Batch(inputs, torch.arange(size) % len(CLASSES), torch.arange(size))
    targets = Targets("class", CLASSES, [1] * 10, {})
    task = Classification(targets, label_smoothing=0.0, class_weights="none", l1=0.0,
                          monitor="val/accuracy", mode="max")  # fmt: skip
    make = partial(AdamW, lr=1e-3)
    model = FineTuner(backbone, LinearHead(backbone.features, 10, dropout=0.0), task,
                      {"head": make, "all": make}, seed=0)  # fmt: skip
    seconds: dict[str, list[float]] = {"forward": [], "head": [], "all": []}
    for _ in range(rounds + 1):
        seconds["forward"].append(_timed(lambda: _forward(backbone, inputs)))
        for number, thaw in enumerate(("none", "all")):
            model.enter(_phase("head" if thaw == "none" else "all", thaw), number, 0)
            optimizer = model.make_optimizer()
            seconds["head" if thaw == "none" else "all"].append(_timed(partial(_step, model, optimizer, batch)))
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first round warms up


def _forward(backbone: Backbone, inputs: Tensor) -> None:
    backbone.eval()
    with torch.inference_mode():
        backbone(inputs)


def _step(model: FineTuner, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    reduce(torch.add, model.task.loss(model(batch.inputs), batch).values()).backward()
    optimizer.step()
    optimizer.zero_grad()


def _timed(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _phase(name: str, thaw: str) -> Phase:
    until = Until("val/loss", "min", None, 0.0)
    return Phase(name=name, thaw=thaw, only=None, epochs=1, lr_scale=1.0, layer_decay=1.0, warmup_epochs=0.0,
                 curve="constant", weight_decay=None, optimizer=None, norm="adapt", l2_sp=0.0, until=until,
                 start_from="last", solve=False, min_steps=0, views="fresh")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
