"""Fill in what run.json says of a test split beside its scores: intervals, uses, slices, calibration."""

from pathlib import Path

from frostline.config.plain import Config
from frostline.frozen.policy import kept_in
from frostline.report.calibration_record import recorded_calibration
from frostline.report.score_intervals import recorded_intervals
from frostline.report.slices import recorded_slices
from frostline.runs.record import Record
from frostline.runs.test_uses import counted_use
from frostline.training.build import Built


def examine(record: Record, built: Built, cfg: Config, folder: Path) -> None:
    """Called by the leading process, once the predictions are stored."""
    if "test/n" in record.metrics and built.reuses:
        record.test_uses = counted_use(kept_in(cfg.cache.dir), built.data.test_digest(), folder)
    if record.predictions:
        record.intervals = recorded_intervals(folder, record.metrics)
        record.slices = recorded_slices(folder)
    record.calibration = recorded_calibration(folder)
