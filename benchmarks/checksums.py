"""Measure the cost of checkpoint checksums: read with them and without, in alternation.

    python benchmarks/checksums.py [model ...]

A checkpoint of weights and AdamW's two moments. `load_tensors` compares every file of the archive with the checksum
that torch wrote and itself never reads; `torch.load` alone does not.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from frostline.backbones.bundled import BundledBackbone
from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.backbones.weights import load_tensors
from machine import write_result

ROUNDS = 7
MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "bundled": lambda: BundledBackbone(weights="bundled"),
    "resnet50": lambda: TorchvisionBackbone("resnet50", weights=None),
}


def seconds(read: Callable[[Path], Any], path: Path) -> float:
    began = time.perf_counter()
    read(path)
    return time.perf_counter() - began


def main(names: list[str]) -> None:
    rows = []
    for name in names:
        state = MODELS[name]().state_dict()
        moments = {key: (torch.rand_like(it.float()), torch.rand_like(it.float())) for key, it in state.items()}
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "it.ckpt"
            torch.save({"state_dict": state, "optimizer": moments}, path)
            size = path.stat().st_size
            plain: Callable[[Path], Any] = lambda file: torch.load(file, map_location="cpu", weights_only=True)  # noqa: E731
            found: dict[str, list[float]] = {"torch": [], "checked": []}
            for _ in range(ROUNDS):
                found["torch"].append(seconds(plain, path))
                found["checked"].append(seconds(load_tensors, path))
        medians = {way: statistics.median(values) for way, values in found.items()}
        rows.append({"model": name, "megabytes": size / 1e6, "seconds": found, "median": medians})
        print(f"{name:10} {size / 1e6:7.1f} MB   torch {medians['torch']:.3f} s   checked {medians['checked']:.3f} s")
    write_result("checksums", rows)


if __name__ == "__main__":
    main(sys.argv[1:] or list(MODELS))
