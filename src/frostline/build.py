"""cfg → objects. The only place that instantiates; below it nothing is called cfg."""

import inspect
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from frostline.backbones.base import Backbone
from frostline.callbacks.checkpoints import WholeFiles
from frostline.callbacks.measure import Measure
from frostline.callbacks.patience import PhasePatience
from frostline.checks import plan_of, resolved, without_ours
from frostline.compiling import compiler_problem
from frostline.data.module import PictureData
from frostline.errors import ConfigError, first_line
from frostline.finetuner import FineTuner, OptimizerFactory
from frostline.phases import Plan
from frostline.strategies import Sharded
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
    optimizer = _optimizer(cfg.optimizer, "optimizer")
    anchored = any(phase.l2_sp for phase in plan_of(cfg).phases)
    backbone = _backbone(cfg.model, load=load_weights or anchored)
    plan = plan_of(cfg).unfolded(list(backbone.blocks))
    for phase in plan.phases:
        phase.thawed(list(backbone.blocks))  # raises where the backbone has no such block
    data: PictureData = _make(cfg.data, "data", PictureData, backbone.spec)
    _require_batches(cfg.trainer, data)
    task, head = _top(cfg, backbone, data.classes, data.class_counts)
    for phase in plan.phases:
        task.require_score(phase.until.monitor, f"schedule.phases.{phase.name}.until.monitor")
    identity = _identity(cfg, backbone, data, head, plan)
    model = FineTuner(backbone, head, task, _optimizers(plan, optimizer), seed=cfg.seed, identity=identity)
    if anchored:
        model.anchor()
    measure = Measure()
    callbacks = [measure, PhasePatience(), *_callbacks(cfg.callbacks)] if logs else []
    logger = _made(cfg.logger, "logger", Logger) if logs else False
    trainer = _trainer(cfg.trainer, callbacks, logger=logger, num_batches=data.num_batches)
    model.compiles = cfg.trainer.compile and _compiles(trainer)
    return Built(model, data, trainer, measure, plan)


def predictor(cfg: DictConfig, classes: list[str], class_counts: list[int]) -> tuple[FineTuner, L.Trainer]:
    """A model without weights and a Trainer, for pictures that belong to no data set."""
    backbone = _backbone(cfg.model, load=False)
    task, head = _top(cfg, backbone, classes, class_counts)
    model = FineTuner(backbone, head, task, {}, seed=cfg.seed)
    single = OmegaConf.merge(cfg.trainer, {"devices": 1, "num_nodes": 1, "strategy": "auto"})
    assert isinstance(single, DictConfig)
    return model, _trainer(single, [], logger=False)


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
        "optimizer": str(cfg.optimizer.get("_target_")),
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


def _optimizers(plan: Plan, default: OptimizerFactory) -> dict[str, OptimizerFactory]:
    """For each phase, by name."""
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
    taken = OmegaConf.create(without_ours({"trainer": settings})["trainer"])
    make: partial[L.Trainer] = instantiate(taken, _partial_=True, _convert_="all")
    try:
        return make(
            strategy=Sharded() if settings["strategy"] == "fsdp" else settings["strategy"],
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


def _compiles(trainer: L.Trainer) -> bool:
    """A run without a compiler is slower and no other."""
    problem = compiler_problem(trainer.strategy.root_device)
    if problem is not None and trainer.is_global_zero:
        print(f"frostline: trainer.compile is left out, torch cannot compile here: {problem}", file=sys.stderr)
    return problem is None


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
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
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
