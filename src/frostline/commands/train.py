"""Run a training: build, fit phase by phase, test the best weights, print the summary."""

import logging
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import OmegaConf

from frostline.commands.board import log_outcome, log_texts, shows_samples
from frostline.commands.examining import examine
from frostline.commands.page import page_of_training
from frostline.commands.recording import recorded
from frostline.config.plain import Config, Settings, selected, yaml_of
from frostline.distributed.agreement import group_left, others_present
from frostline.distributed.slurm_requeue import requeued
from frostline.errors import shown
from frostline.pages.card import HUB_NAME
from frostline.paths import at_home, write_atomically
from frostline.plan.composed import plan_of
from frostline.plan.freezing import count
from frostline.plan.phases import NO_AVERAGE
from frostline.report.depth_table import print_depths
from frostline.report.plan_table import longer_phases, markdown, print_plan, unused_by_solving
from frostline.report.summary import print_run
from frostline.runs.folder import FILES, PLACES, checkpoint_of, lasting, read_run
from frostline.runs.folders import CONFIG, claimed
from frostline.runs.opening import foreign, read_settings
from frostline.runs.record import Record, Stopwatch
from frostline.runs.seen import write_seen
from frostline.training.averaging import average
from frostline.training.build import Built, build
from frostline.training.callbacks.curves import Curves
from frostline.training.callbacks.progress import EpochLines
from frostline.training.callbacks.pruning import Watched
from frostline.training.checkpoint import CHECKPOINTS, Stand, forget_starts, read_saved, stand_of
from frostline.training.finetuner import CHECKPOINT_KEY
from frostline.training.fit import fit
from frostline.training.forecast import PlannedPhase, planned, seconds_in_all
from frostline.training.init_from import init_from
from frostline.training.predictions import PredictionFiles
from frostline.training.projector import remove_features
from frostline.training.scoring import test
from frostline.training.trainer import CHOSEN

# Warnings of Lightning and torch that do not apply here, with the reason.
NOT_HERE = (
    "does not have many workers",  # pictures in memory need no workers; streamed ones get one per core
    "sync_dist=True",  # torchmetrics gathers scores over the ranks before they are logged
    "The number of training batches",  # small data: the mean of the epoch is logged regardless
    "exists and is not empty",  # the run's own folder, which every phase writes to
    "Found .* module\\(s\\) in eval mode",  # frozen blocks are in eval mode on purpose
    "custom batch sampler",  # ours yields every sample once, in order
    "ended before the epoch ended",  # a resumed loader continues after the batches that were trained
    "The .grad attribute of a Tensor that is not a leaf",  # torch.compile inspects every tensor that it meets
    "Grad strides do not match bucket view strides[\\s\\S]*, 1, 1\\], strides",  # irrelevant for 1 x 1 kernels
    "GPU available but not used",  # trainer=cpu asks for that
    "TensorFloat32 tensor cores",  # trainer.precision decides the precision
    "treespec, LeafSpec",  # Lightning 2.6.6 calls a deprecated torch API
)


def train(
    cfg: Config,
    folder: Path,
    *,
    command: str,
    resume: bool,
    seen: list[tuple[str, int, int]],
    watched: Watched | None = None,
) -> Record:
    """Train in `folder`, or continue the run there. Nothing is written to it before everything is built. command: the
    line that starts this run. seen: `stamp` of the folder when it was chosen. watched: by a sweep, which may end the
    run. Raises any FrostlineError, and Pruned."""
    quiet()
    composed, cfg = cfg, Settings.of(cfg)
    record = Record.read(folder) if resume else Record(command=command, seed=cfg.seed)
    watch = Stopwatch(record.seconds)
    checkpoint = checkpoint_of(folder, "last") if resume else None
    built, stand = _built(cfg, checkpoint, record.command)
    loaded = start_weights(built, cfg.init_from, resumes=checkpoint is not None)
    rows = planned(built)
    _describe(record, built, cfg, loaded, rows)
    settings = lasting(composed, _chosen(cfg, built), cfg)
    record.foreign = foreign(settings, folder)
    if built.trainer.is_global_zero:
        if resume:
            print(f"run   {folder} {f'continues {stand.at(built.plan)}' if stand else 'starts again: no checkpoint'}")
        _print_start(built, rows, record.notes, random=cfg.init_from is None and _is_random(cfg.model))
    if cfg.dry_run:
        return record
    watch.add_to("setup")
    if watched is not None:
        watched.begin(built.trainer, built.plan.phases, record)
    leads = built.trainer.is_global_zero
    with (
        claimed(folder, leads=leads, seen=seen),
        requeued(asked=cfg.get("requeue", False) and leads),
        recorded(record, folder, built.trainer),
        others_present(folder),
        group_left(),
    ):
        if leads:
            _write_settings(settings, folder, resume=resume, anew=stand is None)
        if stand is None:  # else TensorBoard has them
            log_texts(built, markdown(rows), folder / CONFIG)
        _fit_and_test(cfg, built, record, folder, stand, watch)
        if leads:
            forget_starts(folder)
    if leads:
        print_run(record, folder, page_of_training(cfg, built, record, folder))
    return record


def _fit_and_test(
    cfg: Settings, built: Built, record: Record, folder: Path, stand: Stand | None, watch: Stopwatch
) -> None:
    if cfg.predictions and built.trainer.is_global_zero:
        seen = {"train": built.data.train_split, "val": built.data.val_split}
        write_seen(folder, {name: split.digests() for name, split in seen.items()})
    watch.add_to("setup")
    files = PredictionFiles(built, folder, cfg.predictions_max_gigabytes if cfg.predictions else None)
    try:
        with files.watching():
            fit(built, record, folder, stand, watch, pictures=shows_samples(cfg))
        if built.plan.average != NO_AVERAGE:
            average(built, record, folder)
    finally:
        watch.add_to("fit")
    test(built, record, files, tests=bool(cfg.get("test", True)))  # earlier versions always did
    watch.add_to("test")
    files.finish(record)
    if built.trainer.is_global_zero:
        record.intervals, record.slices = {}, {}
        examine(record, built, cfg, folder)
    watch.add_to("predictions")
    log_outcome(built, cfg, record, folder)


def _built(cfg: Settings, checkpoint: Path | None, command: str) -> tuple[Built, Stand | None]:
    """Build the objects of a run; also return where it continues, or None. command: the line that started the run."""
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    if checkpoint is None:
        return build(cfg, load_weights=cfg.init_from is None), None
    content = read_saved(checkpoint, command)
    began_in = content[CHECKPOINT_KEY].get("precision")
    if cfg.trainer.precision == "auto" and began_in in CHOSEN:  # another machine would choose another
        cfg = Settings(cfg, trainer=Settings(cfg.trainer, precision=began_in))
    built = build(cfg, load_weights=False, views=content[CHECKPOINT_KEY]["identity"].get("views"))
    if isinstance(built.trainer.logger, Curves):
        built.trainer.logger.resume_at(int(content["global_step"]))
    return built, stand_of(content, checkpoint, built.model, built.plan, command)


def _describe(record: Record, built: Built, cfg: Settings, loaded: str, rows: list[PlannedPhase]) -> None:
    """Fill in data, model, monitor and estimate. loaded: describes the loaded weights; a resumed run keeps its first
    one, as it keeps its first estimate."""
    model = built.model
    record.data = built.data.describe()
    longer = longer_phases(plan_of(cfg).phases, rows)
    unused = unused_by_solving(shlex.split(record.command), rows)
    record.notes = [*built.data.notes(), *longer, *unused, *_limits(built.trainer)]
    record.model = {
        "name": model.backbone.name,
        "weights": record.model.get("weights", loaded),
        "parameters": count(model.parameters()),
        "hub_task": model.task.hub_task_of(built.data.modality.hub_name),
    }
    record.monitor, record.mode = model.task.monitor, model.task.mode
    if record.planned_seconds is None:
        record.planned_seconds = seconds_in_all(rows)
    _name_on_hub(record, cfg)


def _limits(trainer: L.Trainer) -> list[str]:
    """Sentences on splits that are scored in part: samples may be sorted by class, as in folders."""
    limits = {"val": trainer.limit_val_batches, "test": trainer.limit_test_batches}
    return [
        f"trainer.limit_{split}_batches={limit:g}: {split} scores only its first samples, perhaps of few classes"
        for split, limit in limits.items()
        if limit and not (isinstance(limit, float) and limit == 1)  # 1 is one batch, 1.0 all
    ]


def _name_on_hub(record: Record, cfg: Settings) -> None:
    """Add the names of network and data set on the hub of Hugging Face, if they come from there."""
    for entry, name in ((record.model, cfg.model.get("name")), (record.data, cfg.data.get("path"))):
        if isinstance(name, str) and HUB_NAME.fullmatch(name) and not at_home(name).exists():
            entry["hub_name"] = name


def _remove_remains(folder: Path) -> None:
    """Remove the scores and curves of a run that was killed before its first checkpoint of all that it needs."""
    for path in (folder / CHECKPOINTS).glob("*.ckpt"):
        path.unlink()
    for events in (folder / "tensorboard").glob("events.*"):
        events.unlink()
    remove_features(folder / "tensorboard")


def _write_settings(settings: Settings, folder: Path, *, resume: bool, anew: bool) -> None:
    """Write config.yaml; for a resumed run, update only the paths of its data, weights and cache. settings: `lasting`
    ones. anew: whether the run begins from its first step."""
    if resume and anew:
        _remove_remains(folder)
    if not resume:
        write_atomically(folder / CONFIG, yaml_of(settings))
        return
    kept = Settings.of(OmegaConf.create(read_settings(folder / CONFIG)))
    before = Settings.of(read_run(folder)[1])  # with the paths that a moved folder has now
    keys = [key for key in (*PLACES, *FILES) if key.startswith("data.")] + ["cache.dir", "model.weights"]
    places = {key: selected(settings, key) for key in keys}
    moved = {key: place for key, place in places.items() if place != selected(before, key)}
    if moved:
        for key, place in moved.items():
            kept.put(key, place)
        write_atomically(folder / CONFIG, yaml_of(kept))


def _chosen(cfg: Settings, built: Built) -> dict[str, Any]:
    """Values that the run chose for open settings, by config key."""
    names = plan_of(cfg).open_phases
    thaws = {f"schedule.phases.{phase.name}.thaw": phase.thaw for phase in built.plan.phases if phase.name in names}
    return {**built.data.chosen(), **thaws, **({"schedule.minutes": None} if thaws else {})}


def _is_random(model: Settings) -> bool:
    return "weights" in model and model.weights is None


def _print_start(built: Built, rows: list[PlannedPhase], recorded: list[str], *, random: bool) -> None:
    """Print data, plan and notes. recorded: the notes in the record. random: whether weights are random."""
    data = built.data
    print(f"data  {shown(data.summary())}")
    if built.depth is not None:
        print_depths(built.depths, built.depth)
    print_plan(rows)
    for callback in built.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EpochLines):
            callback.planned = {row.name: row.seconds for row in rows}
    notes = [*recorded]
    if random and (frozen := [row.name for row in rows if row.frozen]):
        notes.append(
            f"phase {', '.join(frozen)}: a frozen random network (model.weights=null); schedule=full trains all of it"
        )
    if data.batch_size_is_open:
        notes.append(f"data.batch_size={data.batch_size} {data.batch_size_why}")
    if notes:
        print("".join(f"  {shown(note)}\n" for note in notes))


def start_weights(built: Built, source: str | None, *, resumes: bool) -> str:
    """Load the weights of `source`, if given, and anchor `l2_sp` at the weights that the run starts from. Returns a
    sentence on what was loaded."""
    loaded = built.model.backbone.loaded
    if source is not None and (not resumes or built.plan.anchored):
        loaded = init_from(built.model, at_home(source), built.data.targets)
    if built.plan.anchored:
        built.model.anchor()
    return loaded


def quiet() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not sys.warnoptions:
        for text in NOT_HERE:
            warnings.filterwarnings("ignore", f".*{text}.*")
