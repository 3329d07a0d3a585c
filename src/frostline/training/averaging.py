"""Average weights after the last phase, score the averages on validation, and keep the best."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from frostline.adapters.layers import FIRST
from frostline.distributed.agreement import require_agreement
from frostline.distributed.sharding import sharded_like, whole_state
from frostline.runs.record import Record
from frostline.training.build import Built
from frostline.training.callbacks.checkpoint_files import WholeFiles
from frostline.training.callbacks.checkpoints import PlacedCheckpoint
from frostline.training.callbacks.ema import MovingAverage
from frostline.training.checkpoint import read_checkpoint, read_start
from frostline.training.finetuner import CHECKPOINT_KEY, FineTuner


class Candidate(NamedTuple):
    """val: its validation scores, once it is scored."""

    name: str
    weights: dict[str, Tensor]
    val: dict[str, float] | None = None


def average(built: Built, record: Record, folder: Path) -> None:
    """Score each candidate on the whole validation split. The best becomes the run's best checkpoint, and the model, if
    no epoch was better. Raises RunError.
    """
    model, trainer = built.model, built.trainer
    tuned = _cloned(model)
    record.averages, chosen = [], None
    built.enter_none(keep="nothing")  # a mix may change frozen weights, and is scored once
    kept = trainer.checkpoint_callback
    assert isinstance(kept, ModelCheckpoint)  # checked by require_best
    assert kept.best_model_score is not None
    top = kept.top_score if isinstance(kept, PlacedCheckpoint) else None
    score = float(kept.best_model_score) if top is None else top
    for candidate in _candidates(built, tuned, folder):
        model.load_state_dict(candidate.weights)
        with _unlogged(trainer):
            (scores,) = trainer.validate(model, datamodule=built.data, verbose=False)
        record.averages.append({"name": candidate.name, "val": dict(scores)})
        own = scores[model.task.monitor]
        if own >= score if model.task.mode == "max" else own <= score:  # ties go to the later one, as among epochs
            # Cloned as it was scored: with rank 0's norm statistics, which ranks share in validation.
            chosen, score = Candidate(candidate.name, _cloned(model), dict(scores)), own
    model.load_state_dict(tuned if chosen is None else chosen.weights)
    if chosen is not None:
        kept.best_model_score = torch.tensor(score)
        state = whole_state(model)
        if trainer.is_global_zero:
            place = {"phase": model.phase.name, "first_epoch": model.first_epoch, "epoch": trainer.current_epoch - 1}
            _keep(state, place | {"average": chosen.name, "val": chosen.val}, Path(kept.best_model_path))
        trainer.strategy.barrier()
    require_agreement({"backbone": model.backbone, "head": model.head}, where="the averages after the last phase")


def _candidates(built: Built, tuned: dict[str, Tensor], folder: Path) -> Iterator[Candidate]:
    for callback in built.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, MovingAverage):
            yield Candidate(f"ema {callback.decay:g}", tuned | callback.values)
    shares = built.plan.average.wise_ft
    if not shares:
        return
    first_thaw = built.plan.first_thaw(list(built.model.backbone.blocks))
    assert first_thaw is not None
    before = read_start(folder, first_thaw)
    for share in shares:
        yield Candidate(f"wise_ft {share:g}", _mixed(before, tuned, share))


def _cloned(model: FineTuner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _mixed(before: dict[str, Tensor], after: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mix `share` of `after` with the rest of `before`. Counters, which cannot be mixed, and first factors of adapters
    are those of `after`: second factors begin at zero, so that `share` of them is `share` of the product."""
    return {
        name: torch.lerp(sharded_like(before[name], value), value, share)
        if value.is_floating_point() and f".{FIRST}." not in name
        else value
        for name, value in after.items()
    }


def _keep(state: dict[str, Tensor], place: dict[str, Any], path: Path) -> None:
    """Replace the weights of the best checkpoint. place: their phase, epochs and average."""
    content: dict[str, Any] = read_checkpoint(path)
    content["state_dict"] = state
    content[CHECKPOINT_KEY] |= place
    WholeFiles().save_checkpoint(content, path)


@contextmanager
def _unlogged(trainer: L.Trainer) -> Iterator[None]:
    """Detach the loggers: the curves show training alone."""
    loggers, trainer.loggers = trainer.loggers, []
    try:
        yield
    finally:
        trainer.loggers = loggers
