"""Fill TensorBoard's tabs at the end of a training: pictures, precision-recall curves, texts, HParams."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from frostline.commands.page import shown_of
from frostline.config.plain import Config, resolved, selected
from frostline.data.module import Data
from frostline.errors import RunError
from frostline.pages.board import confusion_picture, contact_sheet, precision_recall, text_table
from frostline.pages.events import curves
from frostline.pages.samples import galleries
from frostline.pages.sections import confusion
from frostline.runs.predictions import Predictions, file_of, read
from frostline.runs.record import Record
from frostline.training.build import Built
from frostline.training.callbacks.curves import Curves

CURVES = "tensorboard"  # folder in a run's
# Settings that change no result: HParams shows few at a time.
LEFT_OUT = ("hydra", "callbacks", "logger", "run_dir", "logs_dir", "resume", "cache", "report", "predictions",
            "predictions_max_gigabytes", "dry_run", "test", "trust", "requeue")  # fmt: skip


def log_texts(built: Built, plan: str, config: Path) -> None:
    """Log plan and config on rank 0. plan: a table in Markdown. config: the file in the run folder."""
    if isinstance(built.trainer.logger, TensorBoardLogger) and built.trainer.is_global_zero:
        writer = built.trainer.logger.experiment
        writer.add_text("plan", plan)
        writer.add_text("config", f"```yaml\n{config.read_text(encoding='utf-8')}```")


def log_outcome(built: Built, cfg: Config, record: Record, folder: Path) -> None:
    """Log what the stored predictions of the test split show, and settings with their scores for HParams."""
    logger = built.trainer.logger
    if not isinstance(logger, TensorBoardLogger):
        return
    step, pictures = built.trainer.global_step, shows_samples(cfg)
    if built.trainer.is_global_zero and (found := _predictions(folder)) is not None:
        _log_predictions(logger.experiment, built.data, found, step, record.temperature, pictures=pictures)
    names = {"model": built.model.backbone.name, "data": built.data.name}
    logger.log_hyperparams(_flat(resolved(cfg)) | names, _metrics(record), step)


def log_late_test(data: Data, settings: DictConfig, record: Record, folder: Path) -> None:
    """Add to the curves of a run, at its last step, what a test after its end shows; nothing if it has no curves."""
    last = max((own.steps[-1] for own in curves(folder / CURVES).values()), default=None)
    if last is None:
        return
    logger = Curves(str(folder), name="", version=CURVES, default_hp_metric=False)
    every = record.metrics | _metrics(record)
    late = {name: value for name, value in every.items() if "test/" in name and name != "test/n"}
    logger.log_metrics(late, last)
    if (found := _predictions(folder)) is not None:
        pictures = shows_samples(settings)
        _log_predictions(logger.experiment, data, found, last, record.temperature, pictures=pictures)
    logger.finalize("success")


def shows_samples(cfg: Config) -> bool:
    """Whether samples may be shown: neither report.pictures=false nor report=false."""
    return cfg.get("report") is not False and selected(cfg, "report.pictures") is not False


def _predictions(folder: Path) -> Predictions | None:
    try:
        return read(folder, "test") if (folder / file_of("test")).is_file() else None
    except RunError:  # run.json's scores do not need them
        return None


def _log_predictions(
    writer: Any, data: Data, found: Predictions, step: int, temperature: float | None, *, pictures: bool
) -> None:
    matrix = confusion(found)
    drawn = None if matrix is None else confusion_picture(matrix)
    if drawn is not None:
        writer.add_image("test/confusion", drawn, step, dataformats="HWC")
    for curve in precision_recall(found):
        writer.add_pr_curve(f"precision_recall/{curve.name}", curve.right, curve.probabilities, step)
    shown = galleries(found, shown_of(data), temperature=temperature).shown if pictures else []
    for gallery in shown:
        name = f"test/{gallery.title.lower()}"
        if (sheet := contact_sheet(gallery)) is not None:
            writer.add_image(name, sheet, step, dataformats="HWC")
        elif table := text_table(gallery):
            writer.add_text(name, table, step)


def _metrics(record: Record) -> dict[str, float]:
    """The score that chooses, on both splits: of other scores TensorBoard has curves, and HParams shows few."""
    names = (record.monitor, record.monitor.replace("val/", "test/", 1))
    return {f"final/{name}": record.metrics[name] for name in names if name in record.metrics}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their path, and the name of each class by that of its settings: `head` is LinearHead."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if key == "_target_" and prefix:
            flat[prefix[:-1]] = str(value).rpartition(".")[2]
        elif key in LEFT_OUT or key.startswith("_"):
            continue
        else:
            flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
