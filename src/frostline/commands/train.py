"""The story of a run: build, fit phase by phase, test the best, tell."""

import logging
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from frostline.config.plain import resolved
from frostline.distributed.agreement import group_left, others_present
from frostline.distributed.signals import Stopped, deaf
from frostline.distributed.slurm_requeue import requeued
from frostline.errors import RankError, shown
from frostline.paths import at_home, write_atomically
from frostline.plan.composed import plan_of
from frostline.plan.freezing import count
from frostline.plan.phases import NO_AVERAGE
from frostline.quoting import command_of
from frostline.report.depth_table import print_depths
from frostline.report.plan_table import markdown, print_plan
from frostline.report.summary import print_run
from frostline.runs.folder import FILES, PLACES, checkpoint_of, lasting
from frostline.runs.folders import CONFIG, claimed
from frostline.runs.opening import foreign, read_settings
from frostline.runs.record import Record, Stopwatch
from frostline.training.averaging import average
from frostline.training.build import Built, build
from frostline.training.checkpoint import Stand, forget_starts, load_checkpoint, phase_number, read_saved, stand_of
from frostline.training.finetuner import CHECKPOINT_KEY
from frostline.training.fit import fit
from frostline.training.forecast import PlannedPhase, planned
from frostline.training.init_from import init_from
from frostline.training.predictions import PredictionFiles

# Lightning's advice that does not hold here, with the reason.
NOT_HERE = (
    "does not have many workers",  # pictures in memory need no workers; streamed ones get one per core
    "sync_dist=True",  # torchmetrics gathers scores over the ranks before they are logged
    "The number of training batches",  # small data: the epoch's mean is logged all the same
    "exists and is not empty",  # the run's own folder, phase after phase
    "Found .* module\\(s\\) in eval mode",  # frozen blocks are, on purpose
    "custom batch sampler",  # ours gives every sample once, in order
    "ended before the epoch ended",  # the loader goes on after the batches that were trained
    "The .grad attribute of a Tensor that is not a leaf",  # torch.compile looks at every tensor that it meets
    "Grad strides do not match bucket view strides[\\s\\S]*, 1, 1\\], strides",  # of one pixel strides say nothing
    "GPU available but not used",  # trainer=cpu says so
    "TensorFloat32 tensor cores",  # trainer.precision says in what is computed
    "treespec, LeafSpec",  # Lightning 2.6.6 asks torch in a way that torch deprecates
)


def train(cfg: DictConfig, folder: Path, *, command: str, resume: bool, seen: list[tuple[str, int, int]]) -> Record:
    """seen: what lay in the folder when it was chosen. Raises any FrostlineError; before the first step nothing has
    been written."""
    quiet()
    record = Record.read(folder) if resume else Record(command=command, seed=cfg.seed)
    watch = Stopwatch(record.seconds)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    checkpoint = checkpoint_of(folder, "last") if resume else None
    built, stand = _built(cfg, checkpoint, record.command)
    loaded = start_weights(built, cfg.init_from, resumes=checkpoint is not None)
    _describe(record, built, loaded)
    record.foreign = foreign(resolved(lasting(cfg)), folder)
    rows = planned(built)
    if built.trainer.is_global_zero:
        if resume:
            print(f"run   {folder} {f'goes on {stand.said(built.plan)}' if stand else 'begins anew: no checkpoint'}")
        _print_start(built, rows, random=cfg.init_from is None and _is_random(cfg.model))
    if cfg.dry_run:
        return record
    watch.add_to("setup")
    leads = built.trainer.is_global_zero
    with (
        claimed(folder, leads=leads, seen=seen),
        requeued(asked=cfg.requeue and leads),
        recorded(record, folder, built.trainer),
        others_present(folder),
        group_left(),
    ):
        if leads:
            _write_settings(cfg, built, folder, resume=resume)
        _log_text(built, "plan", markdown(rows))
        try:
            fit(built, record, folder, stand, watch)
            if built.plan.average != NO_AVERAGE:
                average(built, record, folder)
        finally:
            watch.add_to("fit")
        files = PredictionFiles(built, folder, cfg.predictions_max_gigabytes if cfg.predictions else None)
        test(built, record, files)
        watch.add_to("test")
        files.finish(record)
        watch.add_to("predictions")
        _log_outcome(built, cfg, record)
        if leads:
            forget_starts(folder)
    if leads:
        print_run(record, folder)
    return record


def _built(cfg: DictConfig, checkpoint: Path | None, command: str) -> tuple[Built, Stand | None]:
    """And where the run goes on, if it does. command: that began it."""
    if checkpoint is None:
        return build(cfg, load_weights=cfg.init_from is None), None
    content = read_saved(checkpoint, command)
    built = build(cfg, load_weights=False, views=content[CHECKPOINT_KEY]["identity"].get("views"))
    return built, stand_of(content, checkpoint, built.model, built.plan, command)


def _describe(record: Record, built: Built, loaded: str) -> None:
    """loaded: what was said when the weights were, which a run that goes on knows from its beginning."""
    model = built.model
    record.data = built.data.describe()
    record.model = {
        "name": model.backbone.name,
        "weights": record.model.get("weights", loaded),
        "parameters": count(model.parameters()),
    }
    record.monitor, record.mode = model.task.monitor, model.task.mode


def _write_settings(cfg: DictConfig, built: Built, folder: Path, *, resume: bool) -> None:
    """Of a run that goes on, where its data lies now."""
    if not resume:
        write_atomically(folder / CONFIG, OmegaConf.to_yaml(lasting(cfg, _chosen(cfg, built)), resolve=True))
        return
    kept, now = OmegaConf.create(read_settings(folder / CONFIG)), lasting(cfg)
    places = {key: OmegaConf.select(now, key) for key in (*PLACES, *FILES) if key.startswith("data.")}
    moved = {key: place for key, place in places.items() if place != OmegaConf.select(kept, key)}
    if moved:
        for key, place in moved.items():
            OmegaConf.update(kept, key, place)
        write_atomically(folder / CONFIG, OmegaConf.to_yaml(kept))


def _chosen(cfg: DictConfig, built: Built) -> dict[str, Any]:
    """What the run chose for itself, by key of its config."""
    names = plan_of(cfg).open_phases
    thaws = {f"schedule.phases.{phase.name}.thaw": phase.thaw for phase in built.plan.phases if phase.name in names}
    return {**built.data.chosen(), **thaws, **({"schedule.minutes": None} if thaws else {})}


def _is_random(model: DictConfig) -> bool:
    return "weights" in model and model.weights is None


def _print_start(built: Built, rows: list[PlannedPhase], *, random: bool) -> None:
    """random: whether the backbone's weights are."""
    data = built.data
    print(f"data  {shown(data.summary())}")
    if built.depth is not None:
        print_depths(built.depths, built.depth)
    print_plan(rows)
    notes = data.notes()
    if random and (frozen := [row.name for row in rows if row.frozen]):
        notes.append(
            f"phase {', '.join(frozen)}: a frozen random network (model.weights=null); schedule=full trains all of it"
        )
    if data.batch_size_is_open:
        notes.append(f"data.batch_size={data.batch_size} {data.batch_size_why}")
    if notes:
        print("".join(f"  {shown(note)}\n" for note in notes))


def start_weights(built: Built, source: str | None, *, resumes: bool) -> str:
    """Those of an old run, `source`, where one is named; `l2_sp` pulls back to what the run starts from. Gives a
    sentence on what was loaded."""
    loaded = built.model.backbone.loaded
    if source is not None and (not resumes or built.plan.anchored):
        loaded = init_from(built.model, at_home(source), built.data.targets)
    if built.plan.anchored:
        built.model.anchor()
    return loaded


def _log_text(built: Built, name: str, text: str) -> None:
    if isinstance(built.trainer.logger, TensorBoardLogger):
        built.trainer.logger.experiment.add_text(name, text)


def _log_outcome(built: Built, cfg: DictConfig, record: Record) -> None:
    """For TensorBoard's HParams tab."""
    if isinstance(built.trainer.logger, TensorBoardLogger):
        names = {"model": built.model.backbone.name, "data": built.data.name}
        built.trainer.logger.log_hyperparams(names | _flat(resolved(cfg)), _metrics(record))


def test(built: Built, record: Record, files: PredictionFiles) -> None:
    """Score the best checkpoint by validation, or the last weights where none was kept, on the test split."""
    model, data, trainer, *_ = built
    best = trainer.checkpoint_callback
    if isinstance(best, ModelCheckpoint) and best.best_model_path and best.best_model_score is not None:
        record.best = load_checkpoint(model, Path(best.best_model_path))
        enter_phase_of(built, record.best)
        highest = getattr(best, "top_score", None)
        if highest is not None and highest != float(best.best_model_score):
            record.best["highest"] = highest
        record.metrics[best.monitor or "best"] = float(best.best_model_score)
    with files.collecting("test"):
        (scores,) = trainer.test(model, datamodule=data, verbose=False)
    record.metrics |= dict(scores)
    record.per_class = model.per_class


def enter_phase_of(built: Built, weights: dict[str, Any]) -> None:
    """weights: as `load_checkpoint` tells of them. They are scored as they were in their phase."""
    built.enter(phase_number(built.plan, weights["phase"], "checkpoints"), 0, keep="own")


@contextmanager
def recorded(record: Record, folder: Path, trainer: L.Trainer) -> Iterator[None]:
    """run.json says how it ended, however it ended."""
    write = record.write if trainer.is_global_zero else lambda _: None
    record.status, record.error = "running", None
    write(folder)
    try:
        with others_stopped(trainer):
            yield
        record.status = "finished"
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning makes the second of the first
        deaf()  # what is left to do is short, and has to be whole
        by = signal.Signals(stop.signum if isinstance(stop, Stopped) else signal.SIGINT)
        record.status, record.error = "interrupted", {"type": by.name, "message": "stopped by a signal"}
        if trainer.is_global_zero:
            again = command_of("train", *(["trust=true"] if record.foreign else []), resume=folder)
            print(f"frostline: interrupted by {by.name}\n  next:  {again}", file=sys.stderr)
        sys.exit(128 + by)
    except BaseException as error:
        record.status, record.error = "failed", {"type": type(error).__name__, "message": str(error)}
        raise
    finally:
        record.peak_memory_bytes = _peak_memory(trainer)
        if isinstance(trainer.logger, TensorBoardLogger):
            trainer.logger.experiment.close()  # its thread would outlive the run, and each of a sweep
        try:
            write(folder)
        except OSError:
            if record.status == "finished":
                raise  # else the error that is on its way says more


@contextmanager
def others_stopped(trainer: L.Trainer) -> Iterator[None]:
    """The processes that this one started end with it when a signal or the loss of one of them ends it."""
    try:
        yield
    except Stopped as stopped:
        if (launcher := trainer.strategy.launcher) is not None:
            launcher.kill(signal.Signals(stopped.signum))
        raise
    except RankError:  # one of them may be stopped, and would stay for ever
        if (launcher := trainer.strategy.launcher) is not None:
            launcher.kill(signal.SIGKILL)
        raise


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


def quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not sys.warnoptions:
        for text in NOT_HERE:
            warnings.filterwarnings("ignore", f".*{text}.*")
