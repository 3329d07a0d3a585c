"""The story of a run: build, fit phase by phase, test the best, tell."""

import logging
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from frostline.build import Built, build
from frostline.checks import check, resolved
from frostline.errors import ConfigError, RunError
from frostline.finetuner import CHECKPOINT_KEY, FineTuner
from frostline.freezing import Group, count
from frostline.paths import write_atomically
from frostline.phases import Phase
from frostline.record import Record, Stopwatch
from frostline.report.summary import print_classes, print_run, print_scores
from frostline.runs import CONFIG, checkpoint_of, read_run, require_checkpoint

INTERRUPTED = 130  # the exit code of a program that SIGINT ended: 128 + 2

# Lightning's advice that does not hold here, with the reason.
NOT_HERE = (
    "does not have many workers",  # pictures in memory need no workers; streamed ones get one per core
    "sync_dist=True",  # torchmetrics gathers scores over the ranks before they are logged
    "The number of training batches",  # small data: the epoch's mean is logged all the same
    "exists and is not empty",  # the run's own folder, phase after phase
    "Found .* module\\(s\\) in eval mode",  # frozen blocks are, on purpose
    "custom batch sampler",  # ours gives every sample once, in order
    "treespec, LeafSpec",  # Lightning 2.6.6 asks torch in a way that torch deprecates
)


def train(cfg: DictConfig, folder: Path, *, command: str, resume: bool) -> Record:
    """Raises any FrostlineError; before the first step nothing has been written."""
    quiet()
    record = Record.read(folder) if resume else Record(command=command, seed=cfg.seed)
    watch = Stopwatch(record.seconds)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    checkpoint = checkpoint_of(folder, "last") if resume else None
    built = build(cfg, load_weights=checkpoint is None)
    record.data = built.data.describe()
    record.model = {
        "name": built.model.backbone.name,
        "weights": record.model.get("weights", built.model.backbone.loaded),
        "parameters": count(built.model.parameters()),
    }
    record.monitor, record.mode = built.model.task.monitor, built.model.task.mode
    watch.add_to("setup")
    if not resume and built.trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
    with recorded(record, folder, built.trainer), _group_left():
        try:
            fit(built, record, folder, checkpoint, watch)
        finally:
            watch.add_to("fit")
        test(built, record)
        watch.add_to("test")
        if isinstance(built.trainer.logger, TensorBoardLogger):
            names = {"model": built.model.backbone.name, "data": built.data.name}
            built.trainer.logger.log_hyperparams(names | _flat(resolved(cfg)), _metrics(record))
    if built.trainer.is_global_zero:
        print_run(record, folder, next_command=f"frostline evaluate run={folder}")
    return record


def fit(built: Built, record: Record, folder: Path, checkpoint: Path | None, watch: Stopwatch) -> None:
    """One `trainer.fit` per phase of one Trainer: epochs and steps go on, all else is made afresh."""
    model, data, trainer, _, plan = built
    resumed = _phase_of(checkpoint)
    done = {row["name"]: row for row in record.phases}
    names = [phase.name for phase in plan.phases]
    first_epoch = resumed["first_epoch"] if resumed else 0
    start = names.index(resumed["phase"]) if resumed else 0
    for number, phase in list(enumerate(plan.phases))[start:]:
        groups = model.enter(phase, number, first_epoch)
        epochs = done[phase.name]["epochs"] if phase.name in done else phase.epochs
        trainer.fit_loop.max_epochs = first_epoch + epochs
        seconds: dict[str, float] = {}
        lap = Stopwatch(seconds)
        try:
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except MisconfigurationException as error:
            raise ConfigError(
                f"Lightning refuses: {error}", where="trainer, callbacks", next_step="correct that setting"
            ) from error
        lap.add_to("fit")
        watch.add_to("fit")
        checkpoint = None
        if phase.name not in done:
            epochs = trainer.current_epoch - first_epoch
            record.phases.append(_row(built, phase, groups, epochs, seconds["fit"]))
        if trainer.is_global_zero:
            record.checkpoints = _checkpoints(folder)
            record.write(folder)
        first_epoch = trainer.current_epoch


def test(built: Built, record: Record) -> None:
    """Score the best checkpoint by validation, or the last weights where none was kept, on the test part."""
    model, data, trainer, *_ = built
    best = trainer.checkpoint_callback
    if isinstance(best, ModelCheckpoint) and best.best_model_path and best.best_model_score is not None:
        load_checkpoint(model, Path(best.best_model_path))
        record.metrics[best.monitor or "best"] = float(best.best_model_score)
    (scores,) = trainer.test(model, datamodule=data, verbose=False)
    record.metrics |= dict(scores)
    record.per_class = model.per_class


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Score a run again. Raises RunError where there is nothing to score, and any error of its data."""
    quiet()
    folder = Path(cfg.run)
    record, settings = read_run(folder)
    settings = _amended(settings, cfg)
    L.seed_everything(settings.seed, workers=True, verbose=False)
    model, data, trainer, *_ = build(settings, load_weights=False, logs=False)
    if data.describe()["fingerprint"] != record.data["fingerprint"]:
        raise RunError(
            "the data is not the one that this run was trained and tested on",
            where=data.where,
            next_step="restore it, or score it as new data: frostline predict, or a new run",
        )
    load_checkpoint(model, require_checkpoint(folder, cfg.checkpoint))
    model.eval()
    (scores,) = trainer.test(model, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        print_classes(model.per_class)
        print_scores(dict(scores))
    return dict(scores)


def _amended(settings: DictConfig, cfg: DictConfig) -> DictConfig:
    """A run's settings on another machine. What would make another test part is refused with ConfigError."""
    strange = sorted(set(cfg.data or ()) - {"dir", "batch_size", "num_workers"})
    if strange:
        raise ConfigError(
            f"data.{strange[0]} would score other pictures than this run's test part",
            where="data",
            next_step="data={dir: ..., batch_size: ..., num_workers: ...} may differ, and nothing else",
        )
    amended = OmegaConf.merge(settings, {"data": cfg.data or {}, "trainer": cfg.trainer or {}})
    assert isinstance(amended, DictConfig)
    check(amended)
    return amended


def load_checkpoint(model: FineTuner, path: Path) -> None:
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])


@contextmanager
def recorded(record: Record, folder: Path, trainer: L.Trainer) -> Iterator[None]:
    """run.json says how it ended, however it ended."""
    write = record.write if trainer.is_global_zero else lambda _: None
    record.status, record.error = "running", None
    write(folder)
    try:
        yield
        record.status = "finished"
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the second of the first
        record.status, record.error = "interrupted", {"type": "KeyboardInterrupt", "message": "stopped by the user"}
        if trainer.is_global_zero:
            print(f"frostline: interrupted\n  next:  frostline train resume={folder}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BaseException as error:
        record.status, record.error = "failed", {"type": type(error).__name__, "message": str(error)}
        raise
    finally:
        record.peak_memory_bytes = _peak_memory(trainer)
        write(folder)


def _row(built: Built, phase: Phase, groups: list[Group], epochs: int, seconds: float) -> dict[str, Any]:
    _, _, trainer, measure, _ = built
    rates = {group["name"]: group["initial_lr"] for group in trainer.optimizers[0].param_groups}
    return {
        "name": phase.name,
        "thaw": phase.thaw,
        "learns": list(dict.fromkeys(group.block for group in groups)),
        "epochs": epochs,
        "trainable_parameters": count(p for group in groups for p in group.parameters),
        "learning_rates": rates,
        "seconds": round(seconds, 3),
        "samples_per_second": round(measure.samples_per_second, 1),
        "cached": False,
        "val": {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")},
    }


def _checkpoints(folder: Path) -> dict[str, str | None]:
    paths = {name: checkpoint_of(folder, name) for name in ("best", "last")}
    return {name: str(path.relative_to(folder)) if path is not None else None for name, path in paths.items()}


def _phase_of(checkpoint: Path | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)[CHECKPOINT_KEY]
    return content


def _metrics(record: Record) -> dict[str, float]:
    return {f"final/{name}": value for name, value in record.metrics.items() if name != "test/n"}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if key in ("hydra", "callbacks", "logger", "run_dir", "logs_dir", "resume") or key.startswith("_"):
            continue
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _peak_memory(trainer: L.Trainer) -> int:
    if trainer.strategy.root_device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


@contextmanager
def _group_left() -> Iterator[None]:
    """The next run of this process, in a sweep, makes a process group of its own."""
    try:
        yield
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not sys.warnoptions:
        for text in NOT_HERE:
            warnings.filterwarnings("ignore", f".*{text}.*")
