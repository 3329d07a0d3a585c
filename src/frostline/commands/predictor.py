"""A trained run, opened from Python: `frostline.open`."""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frostline.commands.checks import check
from frostline.commands.trained import Network
from frostline.data.predicting import Prediction
from frostline.data.target_types.find import target_type
from frostline.distributed.launcher import many
from frostline.errors import ConfigError, DataError
from frostline.paths import at_home
from frostline.runs.folder import amended, opened


class Predictor:
    """A run opened for prediction. run: its folder. task: as in `task=`. classes: names of the classes, labels or tags
    in the order of the outputs; empty for regression."""

    def __init__(self, run: Path, network: Network) -> None:
        self.run = run
        targets = network.targets
        self.task = target_type(targets.kind).task
        self.classes = list(targets.names) if target_type(targets.kind).has_classes else []
        self._predicting = network.predicting()

    def predict(self, samples: Iterable[Any], batch_size: int = 64, top_k: int = 5) -> Iterator[Prediction]:
        """Predict the samples lazily and in order, `batch_size` at a time.

        samples: for pictures, paths, PIL images, arrays (H, W) or (H, W, C), or uint8 tensors (H, W) or (C, H, W); for
        texts, strings or pairs of strings; for words, lists of words, or strings of words separated by blanks.
        top_k: the maximum number of classes in `columns`.

        Raises DataError that names a sample that cannot be read, by its index from 0.
        """
        if isinstance(samples, str | os.PathLike):
            raise DataError(
                "predict takes several samples, not one", where=samples, next_step="predict([sample]), with brackets"
            )
        if min(batch_size, top_k) < 1:
            raise ConfigError(
                "batch_size and top_k must be at least 1",
                where="batch_size, top_k",
                next_step="predict(samples, batch_size=64, top_k=5)",
            )
        return self._predictions(iter(samples), batch_size, top_k)

    def _predictions(self, samples: Iterator[Any], batch_size: int, top_k: int) -> Iterator[Prediction]:
        start = 0
        while batch := list(islice(samples, batch_size)):
            yield from self._predicting.of_samples(batch, start, batch_size, top_k)
            start += len(batch)


def open_run(
    run: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    trust: bool = False,
    accelerator: str | None = None,
    precision: str | None = None,
    weights: str | None = None,
) -> Predictor:
    """Open the folder of a run to predict with it, as `frostline predict` does.

    checkpoint: best (by validation) or last. trust: whether code that the run names beside Frostline's own may run.
    accelerator, precision: of the Trainer; None for the run's own. weights: the new folder of a text model and its
    tokenizer, if it has moved.

    Raises RunError for a folder that is no run or needs trust; ConfigError for settings that do not work here.
    """
    folder = at_home(os.fspath(run))
    if many():
        raise ConfigError("one process must open a run", where="torchrun, srun", next_step="start it without them")
    again = f"frostline.open({os.fspath(run)!r}, trust=True)"
    _, settings = opened(folder, trains=False, trust=trust, again=again)
    settings = amended(
        settings,
        trainer=_node(accelerator=accelerator, precision=precision),
        model=_node(weights=weights),
    )
    check(settings, command=None)
    with warnings.catch_warnings(), _silent():
        warnings.simplefilter("ignore")  # Lightning's advice is about training
        return Predictor(folder, Network(settings, folder, checkpoint))


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress Lightning's list of devices, which each new Trainer logs."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _node(**settings: str | None) -> DictConfig:
    return OmegaConf.create(settings)
