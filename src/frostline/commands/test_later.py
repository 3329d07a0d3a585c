"""Score the test split of a finished run that was not tested, and add the scores to its record."""

from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frostline.commands.board import log_late_test
from frostline.commands.checks import check
from frostline.commands.examining import examine
from frostline.commands.page import page_of_training
from frostline.commands.train import quiet
from frostline.commands.trained import read_weights
from frostline.errors import RunError
from frostline.report.summary import print_classes, print_test
from frostline.runs.folder import checkpoint_of
from frostline.runs.record import Record, Stopwatch
from frostline.training.build import build
from frostline.training.checkpoint import loaded, require_unchanged
from frostline.training.predictions import PredictionFiles
from frostline.training.scoring import enter_phase_of, score_test


def test_later(folder: Path, record: Record, settings: DictConfig, *, looks_in: Path | None) -> None:
    """Print the scores, and store them and the predictions in the run's folder. settings: of the run, `opened`. One
    device is used. looks_in: see `page_of_training`. Raises RunError if the run saved no weights, and any error of its
    data."""
    if checkpoint_of(folder, "best") is None:
        raise RunError(
            "the test split is not scored: the best run saved no weights",
            where=folder,
            next_step="leave callbacks.best as it is; or sweep.test=all, which scores each run at its end",
        )
    quiet()
    watch = Stopwatch(record.seconds)
    settings = settings.copy()
    OmegaConf.update(settings, "trainer", {"devices": 1, "num_nodes": 1, "strategy": "auto"}, merge=True)
    check(settings, command=None)
    L.seed_everything(settings.seed, workers=True, verbose=False)
    built = build(settings, load_weights=False, logs=False)
    content, path = read_weights(folder, "best")
    require_unchanged(content, built.model, path, "network", "task", "parts")
    enter_phase_of(built, loaded(built.model, content, path))
    files = PredictionFiles(built, folder, settings.predictions_max_gigabytes if settings.predictions else None)
    score_test(built, record, files)
    watch.add_to("test")
    files.finish(record)
    watch.add_to("predictions")
    examine(record, built, settings, folder)
    record.write(folder)
    log_late_test(built.data, settings, record, folder)
    page_of_training(settings, built, record, folder, looks_in=looks_in)
    print_classes(built.model.per_class)
    print_test(record)
