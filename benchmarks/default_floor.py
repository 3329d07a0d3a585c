"""Check whether the default plan ends below its own linear probe: test scores over seeds, on few samples.

    python benchmarks/default_floor.py <result name> <samples, ...> <seeds, ...> <overrides of the data and model ...>
    python benchmarks/default_floor.py trec6 60,180,600 0,1,2 model=minilm data=trec6 data.dir=<folder>

The probe is `schedule=head_only`: the head is solved on the features, with its L2 penalty chosen on validation. The
third plan is the default without the epochs that few samples get.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import write_result

PLANS: dict[str, list[str]] = {
    "probe": ["schedule=head_only"],
    "default": [],
    "7 epochs": ["schedule.phases.all.epochs=7"],
}


def score(overrides: list[str]) -> tuple[float, float]:
    """Return the test score by which validation chooses, such as accuracy, and the seconds of training."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "frostline", "train", *overrides, f"run_dir={scratch}/run", "logger=none"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        record: dict[str, Any] = json.loads((Path(scratch) / "run" / "run.json").read_text())
    chosen_by = record["monitor"].removeprefix("val/")
    return record["metrics"][f"test/{chosen_by}"], record["seconds"]["fit"]


def main(name: str, limits: list[int], seeds: list[int], overrides: list[str]) -> None:
    rows = []
    for limit in limits:
        scores: dict[str, list[float]] = {plan: [] for plan in PLANS}
        for seed in seeds:
            for plan, settings in PLANS.items():
                own = [*overrides, *settings, f"seed={seed}", f"data.train_limit={limit}"]
                accuracy, seconds = score(own)
                scores[plan].append(accuracy)
                rows.append({"samples": limit, "seed": seed, "plan": plan, "test": accuracy, "seconds": seconds})
                write_result(f"default_floor_{name}", rows)
        for plan, values in scores.items():
            gains = [value - probe for value, probe in zip(values, scores["probe"], strict=True)]
            print(
                f"{limit:6} samples   {plan:9}   {statistics.mean(values):.4f}   gain {statistics.mean(gains):+.4f} "
                f"({min(gains):+.4f} to {max(gains):+.4f})",
                flush=True,
            )


if __name__ == "__main__":
    limits, seeds = ([int(number) for number in text.split(",")] for text in sys.argv[2:4])
    main(sys.argv[1], limits, seeds, sys.argv[4:])
