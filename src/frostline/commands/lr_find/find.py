"""Suggest learning rates: train each phase on a copy while the rate rises from step to step."""

import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf import DictConfig, OmegaConf

from frostline.commands.lr_find.advice import advised, overrides_with
from frostline.commands.lr_find.curves import picture_of
from frostline.commands.lr_find.range_test import NUMBERS, PICTURE, WORST, RangeTest, RateCurve
from frostline.commands.lr_find.rising_rate import RisingRate
from frostline.commands.lr_find.table import print_rates
from frostline.commands.recording import others_stopped
from frostline.commands.train import quiet, start_weights
from frostline.config.plain import resolved
from frostline.data.module import Data
from frostline.distributed.agreement import group_left
from frostline.errors import ConfigError, RunError
from frostline.frozen.outputs import FrozenOutputs
from frostline.frozen.parts import frozen_outputs
from frostline.paths import write_atomically
from frostline.plan.composed import plan_of
from frostline.plan.freezing import blocks_of
from frostline.plan.phase import Phase
from frostline.runs.record import installed_versions
from frostline.training.build import Built, bare_trainer, build, scaled
from frostline.training.fit import refusals_told
from frostline.training.solving import HeadSolver
from frostline.training.trainer import with_precision

SCHEMA = 1
TrainerOf = Callable[[list[L.Callback]], L.Trainer]


@group_left()
def lr_find(cfg: DictConfig, test: RangeTest, folder: Path, *, typed: list[str], command: str) -> list[RateCurve]:
    """Test every phase, then write the curves to `folder` as a picture and as JSON.

    typed: the overrides of this `command`, repeated in the next one. Raises any FrostlineError.
    """
    quiet()
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    built = build(cfg, load_weights=cfg.init_from is None, logs=False)
    start_weights(built, cfg.init_from, resumes=False)
    curves = find_rates(built, partial(bare_trainer, with_precision(cfg, built.model.backbone).trainer), test)
    if built.trainer.is_global_zero:
        base_rate = OmegaConf.select(cfg, "optimizer.lr")
        settings = advised(curves, scaled(plan_of(cfg), built.model.backbone).phases, base_rate)
        following = overrides_with(settings, typed, resolved(cfg))
        title = f"{built.model.backbone.name} on {built.data.name}\nloss while the rate rises over {test.steps} steps"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PICTURE, picture_of(curves, title))
        content = {"command": command, "seed": cfg.seed, "settings": settings, "next": following}
        write_atomically(folder / NUMBERS, json.dumps(content | _numbers(curves), indent=2, allow_nan=False) + "\n")
        again = [it for it in typed if not it.startswith("lr_find.steps=")] + [f"lr_find.steps={3 * test.steps}"]
        print_rates(curves, settings, folder, ["train", *following] if settings else ["lr_find", *again])
    return curves


def find_rates(built: Built, trainer_of: TrainerOf, test: RangeTest) -> list[RateCurve]:
    """Return a curve per phase. Before a phase is tested, the copy trains each earlier phase for the same number of
    steps at its suggested rate: with an untrained head, the test of a thawed backbone would measure the head.

    trainer_of: returns a new Trainer with the given callbacks that only trains; a phase with `start_from: best`
    therefore starts from the last weights. The weights, buffers, gradients and trainability of `built`, and the random
    state, stay unchanged, also if this raises.
    """
    model = copy.deepcopy(built.model)
    own = built.frozen
    frozen = frozen_outputs(model.frozen_pass, built.data, own.store, own.outputs, compiled=own.compiled)
    copied = built._replace(model=model, frozen=frozen)
    fit, solver = partial(_fit, copied, trainer_of), HeadSolver(frozen, len(built.plan.phases) - 1)
    curves: list[RateCurve] = []
    _require_steps(built.plan.phases)
    with _random_state_kept(), _lent(built.data, frozen):
        for number, phase in enumerate(built.plan.phases):
            learns = blocks_of(copied.enter(number, 0, keep="nothing"))
            if phase.solves:  # has no rate to test; later phases start from its solution, as in a run
                fit(RisingRate([0.0], memory=test.memory, worst=math.inf), solver)
                continue
            before = {name: value.clone() for name, value in model.state_dict().items()}
            told = fit(RisingRate(test.rates(), memory=test.memory, worst=WORST))
            curves.append(RateCurve(phase.name, learns, test, _finite(told.losses, phase), told.diverged))
            model.load_state_dict(before)
            rate = curves[-1].suggestion
            if rate is not None and number + 1 < len(built.plan.phases):
                steps = _rates_of(phase, rate, test.steps)
                if fit(RisingRate(steps, memory=test.memory, worst=math.inf)).diverged:
                    model.load_state_dict(before)  # diverged weights may not be finite
    return curves


def _rates_of(phase: Phase, base: float, steps: int) -> list[float]:
    """The rate curve of the phase, compressed to `steps` steps."""
    squeezed = replace(phase, epochs=1, warmup_epochs=phase.warmup_epochs / phase.epochs)
    return [base * squeezed.curve_at(step, steps) for step in range(steps)]


def _require_steps(phases: Sequence[Phase]) -> None:
    """Raise ConfigError if every phase solves its head."""
    if all(phase.solves for phase in phases):
        raise ConfigError(
            "there is no learning rate to find: the head is solved, not trained step by step",
            where="schedule.every_phase.solve",
            next_step="schedule.every_phase.solve=false, or a plan that thaws: schedule=two_stage",
        )


def _fit(built: Built, trainer_of: TrainerOf, rising: RisingRate, *others: L.Callback) -> RisingRate:
    """Train the entered phase at the rates of `rising`."""
    trainer = trainer_of([rising, *others])
    trainer.fit_loop.max_epochs = len(rising.rates)  # enough at one step per epoch; `rising` stops after its last rate
    with refusals_told(built.model.phase, trainer), others_stopped(trainer):
        trainer.fit(built.model, datamodule=built.data)
    return rising


def _finite(losses: list[float], phase: Phase) -> list[float]:
    """Drop the last loss if it is not finite. Raises RunError if it is also the first."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        raise RunError(
            f"the loss is {losses[0]} in phase '{phase.name}' before the first step",
            where="lr_find",
            next_step="check the data and the weights, or trainer.precision=32-true",
        )
    return finite


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Restore the random state of torch, its devices, NumPy and Python on exit, also after an exception, where
    Lightning's `isolate_rng` does not."""
    isolated = isolate_rng()
    isolated.__enter__()
    try:
        yield
    finally:
        isolated.__exit__(None, None, None)


@contextmanager
def _lent(data: Data, frozen: FrozenOutputs) -> Iterator[None]:
    """Let the data serve the copy's frozen outputs, and restore its Trainer, which each fit replaces, on exit."""
    trainer, serve = data.trainer, data.serve
    data.serve = frozen
    try:
        yield
    finally:
        data.trainer, data.serve = trainer, serve
        data.show(None, 0)


def _numbers(curves: Sequence[RateCurve]) -> dict[str, Any]:
    test = curves[0].test
    rows = [
        {
            "name": curve.phase,
            "learns": curve.learns,
            "suggestion": curve.suggestion,
            "diverged": curve.diverged,
            "rates": curve.rates,
            "losses": curve.losses,
            "smoothed": curve.smoothed,
        }
        for curve in curves
    ]
    return {"schema": SCHEMA, "versions": installed_versions(), "test": asdict(test), "phases": rows}
