"""Make a run's objects from cfg. The only place that instantiates; below it nothing is called cfg."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.adapters.kinds import Adapter
from frostline.backbones.base import Backbone
from frostline.config.instantiate import called, class_of, instantiate, instantiate_or_refuse, maker_of, maker_settings
from frostline.config.plain import Config, Settings, resolved
from frostline.contracts.features import Form, forms_of
from frostline.contracts.seeds import seed_of
from frostline.contracts.targets import Targets
from frostline.data.composed import data_of, kinds_of, modality_type
from frostline.data.module import Data
from frostline.data.reader import Reader
from frostline.data.sample_cache import SampleCache
from frostline.data.target_types.find import probed
from frostline.distributed.launcher import follows
from frostline.errors import ConfigError
from frostline.frozen.blocks import FrozenPass
from frostline.frozen.outputs import FrozenOutputs
from frostline.frozen.parts import frozen_outputs
from frostline.frozen.policy import Choice, Reuse, lines_made
from frostline.paths import leaves
from frostline.plan.composed import plan_of
from frostline.plan.freezing import Group, require_nothing_to_learn
from frostline.plan.phases import Plan
from frostline.plan.with_adapters import adapted_blocks
from frostline.storage.store import Store
from frostline.tasks.base import Task
from frostline.training.batch_size import ChosenBatch, largest_batch
from frostline.training.callbacks.ema import MovingAverage
from frostline.training.callbacks.measure import Measure
from frostline.training.callbacks.patience import PhasePatience
from frostline.training.callbacks.requirements import require_best, require_fit
from frostline.training.depth import Depth
from frostline.training.depthwise import keep_float32
from frostline.training.finetuner import FineTuner
from frostline.training.frozen_setup import choices_of, compiled_work, low_of, tried_outputs
from frostline.training.identity import identity_of, network_of
from frostline.training.optimizers import optimizers_of
from frostline.training.settling import deepened, is_solvable, settled
from frostline.training.solving import HeadSolver
from frostline.training.trainer import (
    make_trainer,
    processes,
    require_batches,
    require_devices,
    shows_progress,
    with_precision,
)


class Built(NamedTuple):
    """choices: per phase, whether it caches its frozen outputs; `frozen` computes, caches and serves them. depths: the
    candidates of `thaw: auto`; depth: the chosen one. reuses: whether frozen outputs may be cached at all."""

    model: FineTuner
    data: Data
    trainer: L.Trainer
    measure: Measure
    plan: Plan
    choices: list[Choice]
    frozen: FrozenOutputs
    solver: HeadSolver
    depths: Sequence[Depth] = ()
    depth: int | None = None
    reuses: bool = True

    def enter(
        self, number: int, first_epoch: int, keep: Literal["for later", "own", "nothing"] = "for later"
    ) -> list[Group]:
        """Enter the phase at index `number`, which begins at `first_epoch` of the run. The only way into a phase: what
        learns, what is shown and what is cached change together.

        keep: cache outputs of frozen blocks for this phase and later ones, for this phase alone, or not at all.
        """
        choice = self.choices[number]
        later = lines_made(self.plan, list(self.model.backbone.blocks), self.choices, number)
        self.data.show(choice.views, first_epoch)
        lines = later if keep == "for later" else [choice.line]
        self.frozen.begin(None if keep == "nothing" else choice, lines, first_epoch)
        return self.model.enter(self.plan.phases[number], number, first_epoch)

    def enter_none(self, keep: Literal["own", "nothing"]) -> None:
        """Enter no phase, to score weights: no sample is augmented, and what learns does not change.

        keep: cache the outputs of the whole backbone, or nothing.
        """
        choice = _whole_backbone(self.model.backbone, self.trainer, reuses=self.reuses)
        self.data.show(choice.views, 0)
        self.frozen.begin(None if keep == "nothing" else choice, [choice.line], 0)


def build(
    cfg: Config,
    *,
    load_weights: bool = True,
    logs: bool = True,
    known: Targets | None = None,
    views: Sequence[int | None] | None = None,
) -> Built:
    """Make everything that a run needs, in the only order without circular dependencies.

    load_weights: False if those of a checkpoint will follow. logs: False for no curves, checkpoints and progress.
    known: the targets of a run that is scored on other samples (see `Data`). views: of each phase of a resumed run.
    Raises any FrostlineError.
    """
    cfg = Settings.of(cfg)
    require_devices(cfg.trainer.accelerator, processes(cfg.trainer)["devices"])
    folded = plan_of(cfg)
    kind = _kind(cfg.task)
    backbone = _backbone(cfg.model, _form(cfg), load=load_weights or (folded.anchored and logs))
    cfg = with_precision(cfg, backbone)
    pretrained = cfg.init_from is not None or is_pretrained(cfg.model)
    plan = scaled(folded, backbone).unfolded(list(backbone.blocks))
    optimizers, reuse = optimizers_of(cfg, plan), instantiate(cfg.cache, "cache", Reuse)
    shows = logs and shows_progress(cfg.trainer.enable_progress_bar)
    data = _data(cfg, backbone, reuse, kind, shows=shows, known=known)
    task, head = _fitting_top(cfg, backbone, data, plan)
    plan, depths, depth = deepened(cfg, plan, reuse, backbone, head, task, data)
    plan.first_thaw(list(backbone.blocks))  # raises PlanError if a block does not exist
    _adapt(cfg, backbone, plan)
    for phase in plan.phases:
        task.require_score(phase.until.monitor, phase.until.mode, f"schedule.phases.{phase.name}.until")
    if data.batch_size_is_open:
        data.batch_size, data.batch_size_why = _largest_batch(cfg, backbone, head, plan, data)
    require_batches(cfg.trainer, data)
    trainer = _trainer(cfg, plan, task, measure := Measure(), data.num_batches, logs=logs)
    low = low_of(trainer)
    outputs = tried_outputs(backbone, data, trainer, low)
    solvable = is_solvable(head, task, backbone, data, trainer, outputs[-1].flops)
    plan = settled(plan, data, trainer, pretrained=pretrained, solvable=solvable)
    chosen = choices_of(reuse, plan, backbone, outputs, data, trainer, views)
    identity = identity_of(cfg, backbone, data, head, plan) | {"views": [choice.views for choice in chosen]}
    model = FineTuner(backbone, head, task, optimizers, seed=cfg.seed, identity=identity)
    lines = [phase.frost_line(list(backbone.blocks)) for phase in plan.phases for _ in range(phase.epochs)]
    model.compiles, frozen_compiles = compiled_work(cfg.trainer.compile, trainer, data, lines, outputs)
    model.frozen_pass = FrozenPass(backbone, low, compiles=frozen_compiles)
    store = Store(reuse.folder, reuse.max_bytes)
    data.serve = frozen = frozen_outputs(model.frozen_pass, data, store, outputs, compiled=model.compiles)
    solver = HeadSolver(frozen, len(plan.phases) - 1)
    trainer.callbacks.insert(0, solver)  # type: ignore[attr-defined]  # MovingAverage starts from its solution
    return Built(model, data, trainer, measure, plan, chosen, frozen, solver, depths, depth, reuse.when != "never")


def _largest_batch(cfg: Config, backbone: Backbone, head: nn.Module, plan: Plan, data: Data) -> ChosenBatch:
    trial, longest = make_trainer(cfg.trainer, [], logger=False), data.example(longest=True)
    optimizers, samples = optimizers_of(cfg, plan), len(data.train_split)
    return largest_batch(backbone, head, plan.phases, optimizers, sample=longest, samples=samples, trainer=trial)


def scaled(plan: Plan, backbone: Backbone) -> Plan:
    return plan.scaled(batch_norms=any(isinstance(module, _BatchNorm) for module in backbone.modules()))


def is_pretrained(node: Config) -> bool:
    """Whether a backbone, or a part of it, has weights."""
    return any(key.rpartition(".")[2] == "weights" and value is not None for key, value in leaves(resolved(node)))


def untrained(cfg: Config, targets: Targets) -> FineTuner:
    """A model without weights, for those of a run with these targets."""
    backbone = _backbone(cfg.model, _form(cfg), load=False)
    _adapt(cfg, backbone, plan_of(cfg).unfolded(list(backbone.blocks)))
    task, head = _top(cfg, backbone, targets)
    return FineTuner(backbone, head, task, {}, seed=cfg.seed, identity={"network": network_of(cfg)})


def features_alone(cfg: Config) -> FrozenOutputs:
    """Compute, cache and serve features in one process, for data that gives rows for probes, under the cache keys of a
    training run. Raises any FrostlineError of model, data and trainer.
    """
    require_devices(cfg.trainer.accelerator, 1)
    target = probed(kinds_of(class_of(cfg.data, "data", Reader)))
    backbone = _backbone(cfg.model, target.rows_from or "vector", load=True)
    trainer = single_trainer(cfg, backbone)
    reuse: Reuse = instantiate(cfg.cache, "cache", Reuse)
    data = _data(cfg, backbone, reuse, target.kind, shows=shows_progress(cfg.trainer.enable_progress_bar))
    data.trainer = trainer
    low = low_of(trainer)
    outputs = tried_outputs(backbone, data, trainer, low)
    backbone.to(trainer.strategy.root_device)
    compiles = compiled_work(cfg.trainer.compile, trainer, data, [], outputs).frozen
    work = FrozenPass(backbone, low, compiles=compiles)
    frozen = FrozenOutputs(work, data, Store(reuse.folder, reuse.max_bytes), outputs, compiled=False)
    choice = _whole_backbone(backbone, trainer, reuses=reuse.when != "never")
    frozen.begin(choice, [choice.line], 0)
    return frozen


def _whole_backbone(backbone: Backbone, trainer: L.Trainer, *, reuses: bool) -> Choice:
    """Cache the outputs of all blocks, without augmentation, as a phase does that trains the head alone."""
    kept = reuses and trainer.precision != "16-mixed"
    return Choice(len(backbone.blocks), kept, views=0, passes=(1, 1), num_bytes=0, why_not="")


def bare_trainer(node: Config, callbacks: list[L.Callback]) -> L.Trainer:
    """A Trainer that only trains and calls `callbacks`: no validation, no curves, no checkpoints."""
    return make_trainer(Settings(Settings.of(node), limit_val_batches=0), callbacks, logger=False)


def single_trainer(cfg: Config, backbone: Backbone) -> L.Trainer:
    """A Trainer of one process, which neither logs nor saves."""
    node = with_precision(cfg, backbone).trainer
    return make_trainer(Settings(node, devices=1, num_nodes=1, strategy="auto"), [], logger=False)


def _backbone(node: Config, form: Form, *, load: bool) -> Backbone:
    asked = {} if form == "vector" else {"form": form}  # a user's own backbone need not take it
    backbone: Backbone = instantiate(node, "model", Backbone, load=load, **asked)
    keep_float32(backbone)
    return backbone.to(memory_format=torch.channels_last)


def _form(cfg: Config) -> Form:
    """The form of features that the head takes for this task. Raises ConfigError."""
    task: type[Task] = class_of(cfg.task, "task", Task)
    forms = forms_of(called(maker_of(cfg.head, "head")))
    if task.unit not in forms:
        raise ConfigError(
            f"this head returns outputs per {' or '.join(forms)}, but this task needs them per {task.unit}",
            where="head, task",
            next_step=f"head={task.usual_head}, or another task",
        )
    return forms[task.unit]


def _adapt(cfg: Config, backbone: Backbone, plan: Plan) -> None:
    """Put adapters into the blocks that the plan names. They are drawn from a seed of their own, as the head is, so
    that later draws do not change."""
    adapter: Adapter = instantiate(cfg.adapter, "adapter", Adapter)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed_of(cfg.seed, "adapter"))
        adapter.put_into(backbone, adapted_blocks(plan, list(backbone.blocks)))


def _data(
    cfg: Config, backbone: Backbone, reuse: Reuse, kind: str, *, shows: bool, known: Targets | None = None
) -> Data:
    """kind: of targets. shows: whether the progress of decoding is shown."""
    reader, settings = maker_settings(cfg.data, "data", Reader)
    store = Store(reuse.folder, reuse.max_bytes, modality_type(reader).kept_as) if reuse.when != "never" else None
    cache = SampleCache(store, samples=modality_type(reader).samples, shows=shows, leads=not follows())
    return data_of(reader, backbone.spec, settings, target_kind=kind, cache=cache, known=known)


def _kind(node: Config) -> str:
    """The kind of targets that the task learns from, read from its class: making the task needs the data first."""
    task: type[Task] = class_of(node, "task", Task)
    return task.kind


def _top(cfg: Config, backbone: Backbone, targets: Targets) -> tuple[Task, nn.Module]:
    """The task, and its head for this backbone. The head is drawn from a seed of its own: with the backbone's, a
    network pretrained with that seed would have learned on top of the very same head."""
    task: Task = instantiate(cfg.task, "task", Task, targets)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed_of(cfg.seed, "head"))
        features = backbone.features_for(targets.about)
        head: nn.Module = instantiate(cfg.head, "head", nn.Module, features, task.num_outputs)
    return task, head


def _fitting_top(cfg: Config, backbone: Backbone, data: Data, plan: Plan) -> tuple[Task, nn.Module]:
    """`_top`, and batches as its loss needs them. Raises PlanError if the plan leaves the head random."""
    task, head = _top(cfg, backbone, data.targets)
    data.compose_batches(task.per_identity)
    require_nothing_to_learn(plan.phases, head)
    return task, head


def _trainer(cfg: Config, plan: Plan, task: Task, measure: Measure, num_batches: int, *, logs: bool) -> L.Trainer:
    if not logs:
        return make_trainer(cfg.trainer, [], logger=False, num_batches=num_batches)
    logger = instantiate_or_refuse(cfg.logger, "logger", Logger)
    callbacks = [*_average(plan), measure, PhasePatience(), *_callbacks(cfg.callbacks, task)]
    trainer = make_trainer(cfg.trainer, callbacks, logger=logger, num_batches=num_batches)
    require_best(trainer, task, plan)
    return trainer


def _average(plan: Plan) -> list[L.Callback]:
    """Goes before callbacks that save in the middle of an epoch, so that they save the average with its last step."""
    decay = plan.average.ema_decay
    return [MovingAverage(decay=decay, phase=plan.phases[-1].name)] if decay is not None else []


def _callbacks(node: Config, task: Task) -> list[L.Callback]:
    own = [instantiate_or_refuse(it, f"callbacks.{name!s}", L.Callback) for name, it in node.items() if it is not None]
    for callback in own:
        require_fit(callback, task)
    return own
