"""Fill TensorBoard's tabs at the end of a training: pictures, precision-recall curves, texts, HParams."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from frostline.commands.page import shown_of
from frostline.config.plain import resolved
from frostline.errors import RunError
from frostline.pages.board import confusion_picture, contact_sheet, precision_recall, text_table
from frostline.pages.samples import galleries
from frostline.pages.sections import confusion
from frostline.runs.folder import lasting
from frostline.runs.predictions import Predictions, file_of, read
from frostline.runs.record import Record
from frostline.training.build import Built

LEFT_OUT = ("hydra", "callbacks", "logger", "run_dir", "logs_dir", "resume")


def log_texts(built: Built, cfg: DictConfig, plan: str) -> None:
    """Log plan and config. plan: a table in Markdown."""
    if isinstance(built.trainer.logger, TensorBoardLogger):
        writer = built.trainer.logger.experiment
        writer.add_text("plan", plan)
        writer.add_text("config", f"```yaml\n{OmegaConf.to_yaml(lasting(cfg), resolve=True)}```")


def log_outcome(built: Built, cfg: DictConfig, record: Record, folder: Path) -> None:
    """Log what the stored predictions of the test split show, and settings with their scores for HParams."""
    logger = built.trainer.logger
    if not isinstance(logger, TensorBoardLogger):
        return
    if built.trainer.is_global_zero:
        step, pictures = built.trainer.global_step, shows_samples(cfg)
        if (found := _predictions(folder)) is not None:
            _log_predictions(logger.experiment, built, found, step, record.temperature, pictures=pictures)
    names = {"model": built.model.backbone.name, "data": built.data.name}
    logger.log_hyperparams(names | _flat(resolved(cfg)), _metrics(record))


def shows_samples(cfg: DictConfig) -> bool:
    """Whether samples may be shown: neither report.pictures=false nor report=false."""
    return cfg.get("report") is not False and OmegaConf.select(cfg, "report.pictures") is not False


def _predictions(folder: Path) -> Predictions | None:
    try:
        return read(folder, "test") if (folder / file_of("test")).is_file() else None
    except RunError:  # run.json's scores do not need them
        return None


def _log_predictions(
    writer: Any, built: Built, found: Predictions, step: int, temperature: float | None, *, pictures: bool
) -> None:
    matrix = confusion(found)
    drawn = None if matrix is None else confusion_picture(matrix)
    if drawn is not None:
        writer.add_image("test/confusion", drawn, step, dataformats="HWC")
    for curve in precision_recall(found):
        writer.add_pr_curve(f"precision_recall/{curve.name}", curve.right, curve.probabilities, step)
    shown = galleries(found, shown_of(built.data), temperature=temperature).shown if pictures else []
    for gallery in shown:
        name = f"test/{gallery.title.lower()}"
        if (sheet := contact_sheet(gallery)) is not None:
            writer.add_image(name, sheet, step, dataformats="HWC")
        elif table := text_table(gallery):
            writer.add_text(name, table, step)


def _metrics(record: Record) -> dict[str, float]:
    return {f"final/{name}": value for name, value in record.metrics.items() if name != "test/n"}


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if key in LEFT_OUT or key.startswith("_"):
            continue
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
