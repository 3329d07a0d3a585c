"""cfg → objects. The only place that instantiates; below it nothing is called cfg."""

import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from frostline.backbones.base import Backbone
from frostline.callbacks.checkpoints import WholeFiles
from frostline.callbacks.ema import MovingAverage
from frostline.callbacks.measure import Measure
from frostline.callbacks.patience import PhasePatience
from frostline.checks import plan_of, resolved
from frostline.data.module import PictureData
from frostline.errors import ConfigError, first_line
from frostline.finetuner import FineTuner, OptimizerFactory
from frostline.phases import NO_AVERAGE, Plan
from frostline.tasks.base import Task

SIGNATURES = "CONTRIBUTING says what each kind of part takes; --cfg job prints the configuration"


class Built(NamedTuple):
    model: FineTuner
    data: PictureData
    trainer: L.Trainer
    measure: Measure
    plan: Plan


def build(cfg: DictConfig, *, load_weights: bool = True, logs: bool = True) -> Built:
    """Everything that a run needs, in the one order that has no circle.

    load_weights: False where a checkpoint's will follow. logs: False for no curves, checkpoints and lines.
    Raises any FrostlineError.
    """
    _require_devices(cfg.trainer.accelerator, cfg.trainer.devices)
    folded = plan_of(cfg)
    backbone = _backbone(cfg.model, load=load_weights or (folded.anchored and logs))
    plan = folded.unfolded(list(backbone.blocks))
    plan.first_thaw(list(backbone.blocks))  # raises where the backbone has no such block
    optimizers = _optimizers(cfg, plan)
    data: PictureData = _make(cfg.data, "data", PictureData, backbone.spec)
    _require_batches(cfg.trainer, data)
    task, head = _top(cfg, backbone, data.classes, data.class_counts)
    for phase in plan.phases:
        task.require_score(phase.until.monitor, phase.until.mode, f"schedule.phases.{phase.name}.until")
    identity = _identity(cfg, backbone, data, head, plan)
    model = FineTuner(backbone, head, task, optimizers, seed=cfg.seed, identity=identity)
    measure = Measure()
    callbacks = [*_average(plan), measure, PhasePatience(), *_callbacks(cfg.callbacks)] if logs else []
    logger = _made(cfg.logger, "logger", Logger) if logs else False
    trainer = _trainer(cfg.trainer, callbacks, logger=logger, num_batches=data.num_batches)
    if logs:
        _require_best(trainer, task, plan)
    return Built(model, data, trainer, measure, plan)


def predictor(cfg: DictConfig, classes: list[str], class_counts: list[int]) -> tuple[FineTuner, L.Trainer]:
    """A model without weights and a Trainer, for pictures that belong to no data set."""
    backbone = _backbone(cfg.model, load=False)
    task, head = _top(cfg, backbone, classes, class_counts)
    model = FineTuner(backbone, head, task, {}, seed=cfg.seed)
    single = OmegaConf.merge(cfg.trainer, {"devices": 1, "num_nodes": 1, "strategy": "auto"})
    assert isinstance(single, DictConfig)
    return model, _trainer(single, [], logger=False)


def bare_trainer(node: DictConfig, callbacks: list[L.Callback]) -> L.Trainer:
    """Trains, and does nothing else than `callbacks` do: no validation, no curves, no checkpoints."""
    unwatched = OmegaConf.merge(node, {"limit_val_batches": 0})
    assert isinstance(unwatched, DictConfig)
    return _trainer(unwatched, callbacks, logger=False)


def _backbone(node: DictConfig, *, load: bool) -> Backbone:
    backbone: Backbone = _make(node, "model", Backbone, load=load)
    return backbone.to(memory_format=torch.channels_last)


def _top(cfg: DictConfig, backbone: Backbone, classes: list[str], class_counts: list[int]) -> tuple[Task, nn.Module]:
    """The task, and the head that it needs on this backbone."""
    task: Task = _make(cfg.task, "task", Task, classes, class_counts)
    head: nn.Module = _make(cfg.head, "head", nn.Module, backbone.out_features, task.num_outputs)
    return task, head


def _identity(cfg: DictConfig, backbone: Backbone, data: PictureData, head: nn.Module, plan: Plan) -> dict[str, Any]:
    """What a run is, in plain values: what goes on from its checkpoint has to be the same."""
    said = data.describe()
    return {
        "model": backbone.name,
        "data": {key: said[key] for key in ("num_train", "num_val", "fingerprint")},
        "parts": data.parts_digest(),
        "classes": data.classes,
        "head": {name: list(value.shape) for name, value in head.state_dict().items()},
        "optimizer": resolved(cfg.optimizer),
        "task": resolved(cfg.task),
        "batch_size": data.batch_size,
        "plan": plan.describe(),
        "seed": cfg.seed,
    }


def _make(node: DictConfig, where: str, kind: type, *arguments: Any, **options: Any) -> Any:
    """What `_target_` names, made with its settings and with what the program adds. Raises ConfigError where that is
    not a `kind`, or cannot be called so."""
    maker = _maker(node, where)
    try:
        inspect.signature(maker).bind(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where} cannot be made: {error}", where=f"{where}._target_", next_step=SIGNATURES
        ) from error
    made = maker(*arguments, **options)
    if not isinstance(made, kind):
        raise ConfigError(
            f"{where} has to be a {kind.__name__}, and {node._target_} makes a {type(made).__name__}",
            where=f"{where}._target_",
            next_step=SIGNATURES,
        )
    return made


def _maker(node: DictConfig, where: str) -> Callable[..., Any]:
    """The constructor that `_target_` names, with its settings."""
    try:
        made = instantiate(node, _partial_=True, _convert_="all")
    except (InstantiationException, OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(
            f"{where} cannot be made: {first_line(error)}", where=f"{where}._target_", next_step=SIGNATURES
        ) from error
    if not callable(made):
        raise ConfigError(f"{where} names no `_target_`", where=where, next_step=SIGNATURES)
    maker: Callable[..., Any] = made
    return maker


def _optimizers(cfg: DictConfig, plan: Plan) -> dict[str, OptimizerFactory]:
    """For each phase, by name."""
    default = _optimizer(cfg.optimizer, "optimizer")
    return {
        phase.name: default
        if phase.optimizer is None
        else _optimizer(OmegaConf.create(phase.optimizer), f"schedule.phases.{phase.name}.optimizer")
        for phase in plan.phases
    }


def _optimizer(node: DictConfig, where: str) -> OptimizerFactory:
    make = _maker(node, where)
    try:
        make([nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise ConfigError(
            f"the optimizer refuses its settings: {error}", where=where, next_step="correct that setting"
        ) from error
    return make


def _average(plan: Plan) -> list[L.Callback]:
    """The first of all callbacks: one that saves in the middle of an epoch saves the average with its last step."""
    decay = plan.average.ema_decay
    return [MovingAverage(decay=decay, phase=plan.phases[-1].name)] if decay is not None else []


def _require_best(trainer: L.Trainer, task: Task, plan: Plan) -> None:
    """One score chooses the best epoch everywhere, and what compares with the best epoch needs it kept."""
    kept = trainer.checkpoint_callback
    if not isinstance(kept, ModelCheckpoint) or kept.monitor is None:
        needs = "schedule.average" if plan.average != NO_AVERAGE else plan.first_from_best()
        if needs is not None:
            raise ConfigError(
                f"{needs} needs the best checkpoint, and none is kept",
                where="callbacks",
                next_step="keep callbacks.best",
            )
    elif (kept.monitor, kept.mode) != (task.monitor, task.mode):
        raise ConfigError(
            f"the best epoch is chosen by {kept.monitor} ({kept.mode}), and elsewhere by {task.monitor} ({task.mode})",
            where="callbacks.best, task",
            next_step=f"task.monitor={kept.monitor} task.mode={kept.mode}: callbacks follow it",
        )


def _callbacks(node: DictConfig) -> list[L.Callback]:
    return [
        _made(callback, f"callbacks.{name!s}", L.Callback) for name, callback in node.items() if callback is not None
    ]


def _made(node: DictConfig, where: str, kind: type) -> Any:
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{where} is {node!r}, not settings", where=where, next_step=SIGNATURES)
    try:
        return _make(node, where, kind)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"{where} refuses its settings: {error}", where=where, next_step="correct it") from error


def _trainer(
    node: DictConfig, callbacks: list[L.Callback], logger: Logger | bool, num_batches: int | None = None
) -> L.Trainer:
    settings = resolved(node)
    make: partial[L.Trainer] = instantiate(node, _partial_=True, _convert_="all")
    try:
        return make(
            precision=_precision(settings["precision"], settings["accelerator"]),
            enable_progress_bar=_progress_bar(settings["enable_progress_bar"]) and bool(callbacks),
            callbacks=callbacks,
            logger=logger,
            log_every_n_steps=min(settings["log_every_n_steps"], num_batches or 1),  # once an epoch at the least
            enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in callbacks),
            plugins=[WholeFiles()],
            enable_model_summary=False,
            num_sanity_val_steps=0,  # the first validation comes soon enough, and this one would log
            use_distributed_sampler=False,  # the loaders share out each batch themselves, every sample once
            max_epochs=0,  # each phase raises it
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"the Trainer refuses its settings: {error}",
            where="trainer",
            next_step="correct that setting, or use trainer=cpu",
        ) from error


def _require_batches(node: DictConfig, data: PictureData) -> None:
    """Limits of less than one batch leave nothing to train or to score."""
    for name, part in (("train", data.train_part), ("val", data.val_part), ("test", data.test_part)):
        limit = node[f"limit_{name}_batches"]
        batches = -(-len(part) // data.batch_size)
        if isinstance(limit, float) and int(limit * batches) == 0:
            raise ConfigError(
                f"{limit} of {batches} batches are none",
                where=f"trainer.limit_{name}_batches",
                next_step=f"trainer.limit_{name}_batches=1, or a larger share",
            )


def _require_devices(accelerator: str, devices: Any) -> None:
    """On CPUs a device is a process; on GPUs Lightning counts for itself, but only when the Trainer is made."""
    cores = os.cpu_count() or 1
    on_cpu = _on_cpu(accelerator)
    if on_cpu and isinstance(devices, int) and not 1 <= devices <= cores:
        raise ConfigError(
            f"{devices} devices were asked for, and this machine has {cores} CPU cores and no more",
            where="trainer.devices",
            next_step=f"trainer.devices=1, or up to {cores}",
        )
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            "a GPU was asked for, and torch sees none",
            where="trainer.accelerator",
            next_step="trainer=cpu, or install a driver (nvidia-smi shows whether there is one)",
        )
    if not on_cpu and isinstance(devices, int) and torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise ConfigError(
            f"{devices} devices were asked for, and there are {torch.cuda.device_count()} GPUs",
            where="trainer.devices",
            next_step=f"trainer.devices={torch.cuda.device_count()} or fewer",
        )


def _on_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())


def _precision(precision: str, accelerator: str) -> str:
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return "bf16-mixed" if native else "32-true"


def _progress_bar(wanted: bool | None) -> bool:
    return os.isatty(2) if wanted is None else wanted
