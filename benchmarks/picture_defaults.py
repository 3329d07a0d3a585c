"""Measure the variants of plans from which the defaults for pictures were chosen, with test accuracy after every epoch.

    python benchmarks/picture_defaults.py <folder of sets> [--variants first|grid] [--sets wbc,cifar_1k] [--pixels 96]
                                          [--seeds 0] [--train-limit 500] [--only "two_stage;auto"]

Each variant is `frostline train` with some settings, from the ImageNet weights of EfficientNet-Lite0. `first` chose the
rate, the batch size and the norms; `grid` has every plan, and two of them with other rates and augmentation. `rules` is
the test score of each way to choose the epoch: the highest validation accuracy (the latest of equal ones), the latest
within one or two standard errors of it, the highest mean of an epoch's validation accuracy and its neighbours', the
lowest validation loss, the last epoch, hindsight, and the mean of the weights over the last half of the last phase's
epochs. `picture_sets.py` creates the sets. Runs whose rows are already
in the result are skipped, so that the script continues where it was stopped.
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra import compose, initialize_config_dir

from frostline.commands.train import train
from frostline.paths import conf_dir
from frostline.training import build
from machine import write_result

ALL = "schedule.phases.all."
FIRST: dict[str, list[str]] = {
    "head_only": ["schedule=head_only"],
    "all 0.1, batch 64": [f"{ALL}lr_scale=0.1", "data.batch_size=64"],
    "all 0.3, batch 64": [f"{ALL}lr_scale=0.3", "data.batch_size=64"],
    "all 1.0, batch 64": [f"{ALL}lr_scale=1.0", "data.batch_size=64"],
    "all 0.3, batch 64, adapt": [f"{ALL}lr_scale=0.3", "data.batch_size=64", "schedule.every_phase.norm=adapt"],
    "all 0.3, batch 64, no augmentation": [f"{ALL}lr_scale=0.3", "data.batch_size=64", "data.augment=none"],
    "all 0.03": [f"{ALL}lr_scale=0.03"],
    "all 0.1": [f"{ALL}lr_scale=0.1"],
    "all 0.3 (two_stage)": [],
    "all 0.15, decay 1": [f"{ALL}lr_scale=0.15", f"{ALL}layer_decay=1.0"],
    "all 0.3, decay 0.95": [f"{ALL}lr_scale=0.3", f"{ALL}layer_decay=0.95"],
    "top 3 blocks 0.3": [f"{ALL}thaw=3"],
    "top 3 blocks 0.3, decay 1": [f"{ALL}thaw=3", f"{ALL}layer_decay=1.0"],
    "top 3 blocks 0.6": [f"{ALL}thaw=3", f"{ALL}lr_scale=0.6"],
    "full, 3e-4": ["schedule=full", f"{ALL}lr_scale=1", "optimizer.lr=3e-4"],
}
PRECISION = "trainer.precision=32-true"  # of the first rows, whose processor had no AMX
RATE = 2e-3  # the default of optimizer.lr
GRID: dict[str, list[str]] = {
    **{plan: [f"schedule={plan}"] for plan in ("two_stage", "head_only", "last_block", "auto")},
    **{f"two_stage, {blocks} blocks": [f"{ALL}thaw={blocks}"] for blocks in (2, 3)},
    **{plan: [f"schedule={plan}", f"{ALL}lr_scale=1"] for plan in ("full", "layerwise")},
    **{plan: [f"schedule={plan}"] for plan in ("lp_ft", "gradual")},
    **{f"{plan}, rate of the plan": [f"schedule={plan}"] for plan in ("full", "layerwise")},
    **{
        f"{plan}, rate × {factor:.2g}": [
            f"schedule={plan}",
            *([f"{ALL}lr_scale=1"] if plan == "full" else []),
            f"optimizer.lr={RATE * factor:.3g}",
        ]
        for plan in ("two_stage", "full")
        for factor in (1 / 10, 1 / 3, 3)
    },
    **{
        f"{plan}, augmentation {augment}": [f"schedule={plan}", f"data.augment={augment}"]
        for plan in ("two_stage", "auto")
        for augment in ("none", "strong")
    },
    "full, 1e-3, norms adapt": [
        "schedule=full",
        f"{ALL}lr_scale=1",
        "optimizer.lr=1e-3",
        "schedule.every_phase.norm=adapt",
    ],
    "two_stage, norms adapt": ["schedule=two_stage", "schedule.every_phase.norm=adapt"],
    **{f"two_stage, {epochs} epochs": [f"{ALL}epochs={epochs}", f"+{ALL}min_steps=0"] for epochs in (3, 14)},
    **{f"two_stage, decay {decay}": [f"{ALL}layer_decay={decay}"] for decay in (0.65, 0.95, 1.0)},
    "auto, 3 views": ["schedule=auto", "++schedule.phases.top.views=3"],
}
VARIANTS = {"first": FIRST, "grid": GRID}


class Epoch(NamedTuple):
    phase: str
    val_loss: float
    val_accuracy: float
    test_accuracy: float


class Watch(L.Callback):
    """Scores the test split after each epoch; nothing is selected by it."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.weights: list[dict[str, Any]] = []  # after each epoch of the current phase
        self.averaged: float | None = None
        self.seconds = 0.0  # spent in this callback; subtracted from the training time

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        begun = time.perf_counter()
        if self.epochs and self.epochs[-1].phase != pl_module.phase.name:
            self.weights.clear()
        loss, accuracy = (float(trainer.callback_metrics[f"val/{name}"]) for name in ("loss", "accuracy"))
        self.epochs.append(Epoch(pl_module.phase.name, loss, accuracy, _test_accuracy(trainer, pl_module)))
        self.weights.append({name: it.clone() for name, it in pl_module.state_dict().items()})
        self.seconds += time.perf_counter() - begun

    def on_test_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        own = {name: it.clone() for name, it in pl_module.state_dict().items()}
        half = self.weights[len(self.weights) // 2 :]
        mean = {
            name: torch.stack([it[name].double() for it in half]).mean(0).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in own.items()
        }
        pl_module.load_state_dict(mean)
        self.averaged = _test_accuracy(trainer, pl_module)
        pl_module.load_state_dict(own)


def _test_accuracy(trainer: L.Trainer, model: Any) -> float:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    metrics = model.task.metrics()
    with torch.no_grad():
        for batch in data.test_dataloader():
            seen = data.on_after_batch_transfer(batch, 0)
            metrics.update(model(seen.inputs, seen.passed), seen)
    return float(metrics.compute()["accuracy"])


def _within(epochs: list[Epoch], errors: float, number: int) -> float:
    best = max(epoch.val_accuracy for epoch in epochs)
    floor = best - errors * (best * (1 - best) / number) ** 0.5
    return [epoch for epoch in epochs if epoch.val_accuracy >= floor - 1e-9][-1].test_accuracy


def _smoothed(epochs: list[Epoch], number: int) -> float:
    means = [statistics.mean(it.val_accuracy for it in epochs[max(at - 1, 0) : at + 2]) for at in range(len(epochs))]
    return max(zip(means, range(len(epochs)), epochs, strict=True))[2].test_accuracy


RULES: dict[str, Callable[[list[Epoch], int], float]] = {
    "highest accuracy": lambda epochs, number: _within(epochs, 0, number),
    "latest within one standard error": lambda epochs, number: _within(epochs, 1, number),
    "latest within two": lambda epochs, number: _within(epochs, 2, number),
    "highest smoothed accuracy": _smoothed,
    "lowest loss": lambda epochs, number: min(epochs, key=lambda epoch: epoch.val_loss).test_accuracy,
    "last epoch": lambda epochs, number: epochs[-1].test_accuracy,
    "hindsight": lambda epochs, number: max(epoch.test_accuracy for epoch in epochs),
}


AVERAGE = "mean of weights"


def run(overrides: list[str]) -> dict[str, Any]:
    watch, own = Watch(), build._callbacks
    build._callbacks = lambda node, task: [*own(node, task), watch]
    try:
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
            folder = Path(scratch) / "run"
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                cfg = compose("train", [*overrides, f"run_dir={folder}", "logger=none", "trainer=cpu", PRECISION])
            record = train(cfg, folder, command="", resume=False, seen=[])
    finally:
        build._callbacks = own
    number = record.data["num_val"]
    return {
        "test": record.metrics["test/accuracy"],
        "val": record.metrics["val/accuracy"],
        "seconds": record.seconds["fit"] - watch.seconds,
        "rules": {name: rule(watch.epochs, number) for name, rule in RULES.items()} | {AVERAGE: watch.averaged},
        "epochs": watch.epochs,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="wbc,cifar_1k")
    parser.add_argument("--variants", choices=VARIANTS, default="first")
    parser.add_argument("--only", help="names of variants, with ';' between them; all by default")
    parser.add_argument("--pixels", type=int, default=96)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--train-limit", type=int)
    asked = parser.parse_args()
    result = {"first": "picture_defaults", "grid": "picture_grid"}[asked.variants]
    before = Path(__file__).parent / "results" / f"{result}.json"
    rows: list[dict[str, Any]] = json.loads(before.read_text())["rows"]["runs"] if before.is_file() else []
    done = {(row["set"], row["variant"], row["seed"]) for row in rows if "variant" in row}  # the first rows had none
    for seed in asked.seeds.split(","):
        for name in asked.sets.split(","):
            for variant, settings in VARIANTS[asked.variants].items():
                if (name, variant, int(seed)) in done or (asked.only and variant not in asked.only.split(";")):
                    continue
                common = ["model=efficientnet_lite0", "data=image_folder", f"data.dir={asked.folder / name}",
                          f"data.image_size={asked.pixels}", f"seed={seed}", f"data.split_seed={seed}"]  # fmt: skip
                limit = [f"data.train_limit={asked.train_limit}"] if asked.train_limit else []
                rows.append({"set": name, "variant": variant, "seed": int(seed), **run([*common, *limit, *settings])})
                if asked.variants == "grid":
                    del rows[-1]["epochs"]  # thousands of lines; the rules hold what is needed
                print(
                    json.dumps({key: rows[-1][key] for key in ("set", "variant", "seed", "test", "seconds")}),
                    flush=True,
                )
                write_result(result, {"pixels": asked.pixels, "runs": rows})
    ruled = [row["rules"] for row in rows if "rules" in row]
    for rule in [*RULES, AVERAGE]:  # the first rows lack some
        found = [rules[rule] for rules in ruled if rule in rules]
        print(f"{rule:36} {statistics.mean(found):.4f}  ({len(found)} runs)" if found else f"{rule:36} none")


if __name__ == "__main__":
    main()
