"""Check that callbacks fit a plan of phases."""

import lightning as L
from lightning.pytorch.callbacks import BaseFinetuning, EarlyStopping, ModelCheckpoint

from frostline.errors import ConfigError
from frostline.plan.phases import NO_AVERAGE, Plan
from frostline.tasks.base import Task


def require_fit(callback: L.Callback, task: Task) -> None:
    """Raises ConfigError if a callback freezes blocks itself, or monitors a score that does not exist."""
    name = type(callback).__name__
    if isinstance(callback, BaseFinetuning):
        raise ConfigError(
            f"{name} freezes and thaws blocks, which is the plan's job",
            where="callbacks",
            next_step="leave it out, and choose schedule=two_stage (frostline train --help lists the others)",
        )
    if (
        isinstance(callback, ModelCheckpoint)
        and callback.save_top_k not in (0, 1)
        and "{" not in (callback.filename or "{")
    ):
        raise ConfigError(
            f"{name} saves several checkpoints (save_top_k={callback.save_top_k}), but gives all of them one name, "
            f"'{callback.filename}': the last would replace the best",
            where="callbacks",
            next_step="leave save_top_k out",
        )
    if isinstance(callback, EarlyStopping) and str(callback.monitor).startswith("val/"):
        task.require_score(callback.monitor, "min" if callback.mode == "min" else "max", f"callbacks, {name}")
    elif isinstance(callback, EarlyStopping) and callback.monitor != "train/loss_epoch":
        raise ConfigError(
            f"{name} monitors '{callback.monitor}', but there is no such score",
            where="callbacks",
            next_step=f"monitor one of train/loss_epoch, {', '.join(task.scores)}",
        )


def require_best(trainer: L.Trainer, task: Task, plan: Plan) -> None:
    """Raises ConfigError if callback and task choose the best epoch by different scores, or if its checkpoint is needed
    but not saved."""
    kept = trainer.checkpoint_callback
    if not isinstance(kept, ModelCheckpoint) or kept.monitor is None or not _keeps_each_best(kept):
        needs = "schedule.average" if plan.average != NO_AVERAGE else plan.first_from_best()
        if needs is not None:
            raise ConfigError(
                f"{needs} needs the best checkpoint, but none is saved",
                where="callbacks",
                next_step="keep callbacks.best as it is",
            )
    elif (kept.monitor, kept.mode) != (task.monitor, task.mode):
        raise ConfigError(
            f"the best epoch is chosen by {kept.monitor} ({kept.mode}), but the task uses {task.monitor} ({task.mode})",
            where="callbacks.best, task",
            next_step=f"task.monitor={kept.monitor} task.mode={kept.mode}  # callbacks follow it",
        )


def _keeps_each_best(kept: ModelCheckpoint) -> bool:
    return kept.filename == "best" and kept.save_top_k != 0 and kept.every_n_epochs == 1
