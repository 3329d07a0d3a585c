"""Choose the device of a measurement, a GPU if there is one, and write results with the machine they come from."""

import datetime
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from frostline.runs.record import installed_versions

RESULTS = Path(__file__).parent / "results"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TRAINER = "trainer=gpu" if DEVICE.type == "cuda" else "trainer=cpu"


def bf16() -> AbstractContextManager[Any]:
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16)


def done() -> float:
    """Wait for the device to finish, and return the time in seconds."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, over rounds in which the ways take turns, after one that warms up."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, call in ways.items():
            begun = done()
            call()
            seconds[way].append(done() - begun)
    return {way: statistics.median(each[1:]) for way, each in seconds.items()}


def machine() -> dict[str, Any]:
    """Describe the processor, the cores that this process may use, the GPU, versions and the date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "amx_bf16": "amx_bf16" in flags,
        "gpu": torch.cuda.get_device_name() if DEVICE.type == "cuda" else None,
        "versions": installed_versions(),
        "date": datetime.date.today().isoformat(),
    }


def write_result(name: str, rows: Any) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    return path
