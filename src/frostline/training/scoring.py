"""Score the weights that a run ends with: those of its best epoch, or of its beginning if nothing is trained."""

import math
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from frostline.distributed.sharding import whole_state
from frostline.runs.record import Record
from frostline.training.build import Built
from frostline.training.callbacks.checkpoint_files import WholeFiles, files_of
from frostline.training.checkpoint import CHECKPOINTS, loaded, phase_number, read_checkpoint
from frostline.training.finetuner import CHECKPOINT_KEY
from frostline.training.predictions import PredictionFiles

NO_PHASE = "none"  # in place of the phase of weights that were not trained


def test(built: Built, record: Record, files: PredictionFiles, *, tests: bool) -> None:
    """Load the best checkpoint by validation, or leave the last weights if none was saved, and score the test split if
    it `tests`."""
    model, trainer = built.model, built.trainer
    best = trainer.checkpoint_callback
    if isinstance(best, ModelCheckpoint) and best.best_model_path and best.best_model_score is not None:
        path = Path(best.best_model_path)
        content = files_of(trainer).take(path) or read_checkpoint(path)
        score = _score_of(content, best, path, leads=trainer.is_global_zero)
        record.best = loaded(model, content, path)
        enter_phase_of(built, record.best)
        highest = getattr(best, "top_score", None)
        if highest is not None and highest != score:
            record.best["highest"] = highest
        record.metrics |= _noted(built, content[CHECKPOINT_KEY]["val"])
        record.metrics[best.monitor or "best"] = score
    if tests:
        score_test(built, record, files)


def _score_of(content: dict[str, Any], best: ModelCheckpoint, path: Path, *, leads: bool) -> float:
    """The validation score of the weights in a file. The leading rank prints a message if they are not the ones that
    this run chose last: it was killed between two writes, or someone put another file there."""
    assert best.best_model_score is not None
    chosen, score = float(best.best_model_score), content[CHECKPOINT_KEY]["val"].get(best.monitor)
    if not isinstance(score, int | float) or not math.isfinite(score):
        return chosen
    if math.isclose(score, chosen, rel_tol=1e-5, abs_tol=1e-6):
        return chosen
    if leads:
        print(
            f"frostline: {path.name} holds other weights than this run chose last, with {best.monitor} {score:.4f} "
            f"instead of {chosen:.4f}: the process was killed between two writes, or the file was replaced. They are "
            "tested.",
            file=sys.stderr,
        )
    return float(score)


def score_test(built: Built, record: Record, files: PredictionFiles) -> None:
    """Score the test split with the weights that the model has."""
    with files.collecting("test"):
        (scores,) = built.trainer.test(built.model, datamodule=built.data, verbose=False)
    record.metrics |= dict(scores)
    record.per_class = built.model.per_class


def _noted(built: Built, scores: dict[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in built.model.task.noted if name in scores}


def enter_phase_of(built: Built, weights: dict[str, Any]) -> None:
    """Enter the phase of these weights, so that they are scored as in that phase. weights: from `load_checkpoint`."""
    if built.plan.phases:
        built.enter(phase_number(built.plan, weights["phase"], "checkpoints"), 0, keep="own")
    else:
        built.enter_none(keep="own")


def score_untrained(built: Built, record: Record, folder: Path) -> None:
    """Score validation with the weights as they are, and write them as the run's best checkpoint, from which other
    commands open it."""
    built.enter_none(keep="own")
    model, trainer = built.model, built.trainer
    (scores,) = trainer.validate(model, datamodule=built.data, verbose=False)
    record.best = {"phase": NO_PHASE, "epoch": 0, "average": None}
    record.metrics |= _noted(built, dict(scores)) | {model.task.monitor: scores[model.task.monitor]}
    saved = {"phase": NO_PHASE, "first_epoch": 0, "epoch": 0, "batches": 0, "ended": True, "average": None}
    content = {
        "state_dict": whole_state(model),
        CHECKPOINT_KEY: saved | {"val": dict(scores), "identity": model.identity},
    }
    if trainer.is_global_zero:
        WholeFiles().save_checkpoint(content, folder / CHECKPOINTS / "best.ckpt")
        record.checkpoints["best"] = f"{CHECKPOINTS}/best.ckpt"
    trainer.strategy.barrier()
