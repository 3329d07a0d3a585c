"""Phase by phase: one `trainer.fit` each, of one Trainer, from where the run stands."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from frostline.agreement import require_agreement
from frostline.backbones.weights import UNREADABLE
from frostline.build import Built
from frostline.errors import ConfigError, RunError
from frostline.finetuner import CHECKPOINT_KEY, FineTuner
from frostline.freezing import Group, count
from frostline.phases import Phase
from frostline.record import Record, Stopwatch
from frostline.runs import checkpoint_of


class Stand(NamedTuple):
    """How far a checkpoint's run had come. number: of the phase in the plan."""

    path: Path
    number: int
    first_epoch: int
    epoch: int
    batches: int
    ended: bool
    val: dict[str, float]


def fit(built: Built, record: Record, folder: Path, stand: Stand | None, watch: Stopwatch) -> None:
    """Epochs and steps go on from phase to phase, all else is made afresh. Raises ConfigError, PlanError, RankError."""
    first_epoch, start = (stand.first_epoch, stand.number) if stand is not None else (0, 0)
    rows = {row["name"]: row for row in record.phases}
    record.phases = record.phases[:start]
    for number, phase in list(enumerate(built.plan.phases))[start:]:
        resumed = stand if stand is not None and stand.number == number else None
        if phase.start_from == "best" and resumed is None and (best := checkpoint_of(folder, "best")) is not None:
            load_checkpoint(built.model, best)
        groups = built.model.enter(phase, number, first_epoch)
        seconds: dict[str, float] = {}
        lap = Stopwatch(seconds)
        _fit_phase(built, phase, first_epoch, resumed)
        require_agreement(
            {"backbone": built.model.backbone, "head": built.model.head}, where=f"the end of phase '{phase.name}'"
        )
        lap.add_to("fit")
        watch.add_to("fit")
        epochs = built.trainer.current_epoch - first_epoch
        ended = resumed is not None and resumed.ended
        scores = resumed.val if resumed is not None and ended else built.trainer.callback_metrics
        row = _row(built, phase, groups, epochs, seconds["fit"], scores)
        record.phases.append(rows.get(phase.name, row) if ended else row)
        if built.trainer.is_global_zero:
            record.checkpoints = _checkpoints(folder)
            record.write(folder)
        first_epoch = built.trainer.current_epoch


def load_checkpoint(model: FineTuner, path: Path) -> dict[str, Any]:
    """Gives the phase and the epoch of it, from 1, that the weights are from."""
    content = read_checkpoint(path)
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint is of another model: {' '.join(str(error).split())[:300]}",
            where=path,
            next_step="restore the file, or the run's config.yaml and run.json",
        ) from error
    said = content[CHECKPOINT_KEY]
    return {"phase": said["phase"], "epoch": said["epoch"] - said["first_epoch"] + 1}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises RunError where it is not one of ours, or damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if {"state_dict", CHECKPOINT_KEY} <= content.keys():
            return content
        problem = "it is no checkpoint of a run"
    except (*UNREADABLE, AttributeError) as error:
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise RunError(
        f"the checkpoint cannot be read: {problem}",
        where=path,
        next_step="restore the file, use the other one (checkpoint=last), or train anew",
    )


def _fit_phase(built: Built, phase: Phase, first_epoch: int, resumed: Stand | None) -> None:
    last = first_epoch + phase.epochs
    if resumed is not None:
        built.data.resume_at(resumed.epoch, resumed.batches)
        if resumed.ended:
            last = resumed.epoch + 1  # nothing to train: the Trainer only takes up where it stands
    built.trainer.fit_loop.max_epochs = last
    checkpoint = resumed.path if resumed is not None else None
    try:
        built.trainer.fit(built.model, datamodule=built.data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(
            f"Lightning refuses: {error}", where="trainer, callbacks", next_step="correct that setting"
        ) from error


def stand_of(checkpoint: Path, built: Built) -> Stand:
    """Raises RunError where `checkpoint` is of another run, or damaged."""
    said: dict[str, Any] = read_checkpoint(checkpoint)[CHECKPOINT_KEY]
    _require_same(said["identity"], built.model.identity, checkpoint)
    number = [phase.name for phase in built.plan.phases].index(said["phase"])
    return Stand(checkpoint, number, *(said[key] for key in ("first_epoch", "epoch", "batches", "ended", "val")))


def _require_same(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    """Raises RunError that names what differs."""
    other = [f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in now if before.get(key) != now[key]]
    if other:
        raise RunError(
            f"the run was another one: {'; '.join(other)}",
            where=checkpoint,
            next_step="restore what differs, or start a new run from these weights: init_from=<run folder>",
        )


def _row(built: Built, phase: Phase, groups: list[Group], epochs: int, seconds: float, scores: Any) -> dict[str, Any]:
    rates = {group["name"]: group["initial_lr"] for group in built.trainer.optimizers[0].param_groups}
    return {
        "name": phase.name,
        "thaw": phase.thaw,
        "learns": list(dict.fromkeys(group.block for group in groups)),
        "epochs": epochs,
        "trainable_parameters": count(p for group in groups for p in group.parameters),
        "learning_rates": rates,
        "seconds": round(seconds, 3),
        "samples_per_second": round(built.measure.samples_per_second, 1),
        "cached": False,
        "val": {name: float(value) for name, value in scores.items() if name.startswith("val/")},
    }


def _checkpoints(folder: Path) -> dict[str, str | None]:
    paths = {name: checkpoint_of(folder, name) for name in ("best", "last")}
    return {name: str(path.relative_to(folder)) if path is not None else None for name, path in paths.items()}
