"""A trained run, opened from Python: `frostline.open`."""

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from frostline.commands.calibrated import calibrated
from frostline.commands.checks import check
from frostline.commands.confidence import Confidence, confidence, is_by_time
from frostline.commands.trained import Network
from frostline.data.predicting import Prediction
from frostline.data.target_types.find import target_type
from frostline.distributed.launcher import many
from frostline.errors import ConfigError, DataError
from frostline.paths import at_home
from frostline.quoting import command_of
from frostline.runs.folder import amended, opened
from frostline.runs.record import Record

SINGLE = 3  # most dimensions of an array that is one sample: a picture in colour
# By a method that only tables of pandas, Polars and Arrow have: the way to their rows, and to a column.
ROWS_BY_METHOD = {
    "iterrows": ("to_dict('records')", "table['<column>']"),
    "iter_rows": ("rows(named=True)", "table['<column>']"),
    "to_struct_array": ("to_pylist()", "table['<column>'].to_pylist()"),
}
SHARES = ("probability", "share")  # begin the names of columns of numbers


class Predictor:
    """A run opened for prediction. run: its folder. task: as in `task=`. classes: names of the classes, labels or tags
    in the order of the outputs; empty for regression. temperature: by which logits are divided before they become
    probabilities; it was fitted on validation, which also chose the epoch; None for probabilities as trained."""

    def __init__(self, run: Path, network: Network, record: Record, checkpoint: str, calibration: str) -> None:
        self.run = run
        self.temperature, note = calibrated(record, checkpoint, network.task, calibration)
        if note and self.temperature is None and calibration != "none":
            print(f"frostline: {note}", file=sys.stderr)
        self._opened = record, network.task, checkpoint
        self._by_time, self._told = is_by_time(network.settings), set[str]()
        targets = network.targets
        self.task = target_type(targets.kind).task
        self.classes = list(targets.names) if target_type(targets.kind).has_classes else []
        self._network, self._predicting = network, network.predicting()

    def __repr__(self) -> str:
        return f"Predictor({str(self.run)!r}, task={self.task!r}, classes={self.classes!r})"

    @cached_property
    def module(self) -> nn.Sequential:
        """The network with its preprocessing, for serving and `torch.export`: a copy on the CPU, in float32 and eval
        mode.

        It maps pictures (B, 3, H, W), upright RGB of any size in uint8, to logits (B, K) of classes, which `predict`
        divides by `temperature`, (B, K, H, W) of pixels, at the head's stride, or numbers (B, T) in the unit of the
        targets. Unlike `predict`, it resizes pictures without rounding to uint8, and never cuts them into tiles.

        Raises ConfigError if samples are no pictures, or if outputs need their sizes."""
        preprocess, why = self._predicting.preprocess(), ""
        if preprocess is None:
            why = f"this run takes {self._predicting.samples}, and only pictures enter a module as plain tensors"
        elif not self._network.task.stands_alone:
            why = "the outputs of this task need the sizes of pictures, which a module does not get"
        if preprocess is None or why:
            weights = command_of("export", run=self.run, output="weights.safetensors")
            raise ConfigError(
                why,
                where="Predictor.module",
                next_step=f"predict(samples) reads them; {weights} writes the weights alone",
            )
        return self._network.module(preprocess)

    def predict(
        self,
        samples: Iterable[Any],
        batch_size: int = 64,
        top_k: int = 5,
        *,
        abstain: float | None = None,
        conformal: float | None = None,
    ) -> Iterator[Prediction]:
        """Predict the samples lazily and in order, `batch_size` at a time.

        samples: for pictures, paths, PIL images, arrays (H, W) or (H, W, C), or uint8 tensors (H, W) or (C, H, W); for
        texts, strings or pairs of strings; for words, lists of words, or strings of words separated by blanks; for
        other data see data/README.md.
        Grey pictures of more than 8 bits go by the run's range; if it has none, each goes by the smallest usual range
        that holds its values, such as 0 to 4095, and a note says so.
        Texts that are longer than the run's `data.max_length` are cut off, and a note names the first.
        top_k: the maximum number of classes in `columns`.
        abstain: the highest error rate of the answers, such as 0.05; for less sure samples `label` is None, `abstained`
        "yes" and `guess` the most probable class.
        conformal: the share of samples, such as 0.1, whose truth may lie outside of `set`, the classes by probability,
        or of `<name>_low` and `<name>_high`.

        Raises DataError that names a sample that cannot be read, by its index from 0; ConfigError if validation has too
        few samples for abstain or conformal, or the task has neither.
        """
        counts: list[Any] = [batch_size, top_k]
        if any(not isinstance(number, Integral) or number < 1 for number in counts):
            raise ConfigError(
                "batch_size and top_k must be whole numbers, at least 1",
                where="batch_size, top_k",
                next_step="predict(samples, batch_size=64, top_k=5)",
            )
        shares: list[Any] = [share for share in (abstain, conformal) if share is not None]
        if any(not isinstance(share, Real) or not 0 < float(share) < 1 for share in shares):
            raise ConfigError(
                "abstain and conformal are numbers that lie between 0 and 1",
                where="abstain, conformal",
                next_step="predict(samples, abstain=0.05, conformal=0.1)",
            )
        _require_several(samples, self._predicting.samples)
        record, task, checkpoint = self._opened
        promised = {"abstain": abstain, "conformal": conformal}
        sure = confidence(self.run, record, task, checkpoint, **promised, by_time=self._by_time)
        for note in [note for note in sure.notes if note not in self._told]:
            print(f"frostline: {note}", file=sys.stderr)
        self._told.update(sure.notes)
        return self._predictions(iter(samples), batch_size, top_k, sure)

    def _predictions(
        self, samples: Iterator[Any], batch_size: int, top_k: int, sure: Confidence
    ) -> Iterator[Prediction]:
        start = 0
        while batch := list(islice(samples, batch_size)):
            for found in self._predicting.of_samples(batch, start, batch_size, top_k):
                columns = found.columns if sure.is_empty else sure.of_one(found.columns, found.values)
                yield found._replace(columns={name: self._typed(name, cell) for name, cell in columns.items()})
            start += len(batch)

    def _typed(self, name: str, cell: Any) -> Any:
        """Cells of a table as values: numbers as floats, None for a word without a prediction."""
        if isinstance(cell, list):
            return [self._typed(name, it) for it in cell]
        if name == "label" and cell == "":
            return None  # the network abstained
        if self.classes and not name.startswith(SHARES):
            return cell
        try:
            return float(cell) if cell else None
        except ValueError:
            return cell


def open_run(
    run: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    trust: bool = False,
    accelerator: str | None = None,
    precision: str | None = None,
    weights: str | None = None,
    calibration: Literal["temperature", "none"] = "temperature",
) -> Predictor:
    """Open the folder of a run to predict with it, as `frostline predict` does.

    checkpoint: best (by validation) or last. trust: whether code that the run names beside Frostline's own may run.
    accelerator, precision: of the Trainer; None for the run's own. weights: the new folder of a text model and its
    tokenizer, if it has moved. calibration: whether probabilities of classes are calibrated by the temperature that was
    fitted on validation, or as trained (none).

    Raises RunError for a folder that is no run or needs trust; ConfigError for settings that do not work here.
    """
    folder = at_home(os.fspath(run))
    if many():
        raise ConfigError("one process must open a run", where="torchrun, srun", next_step="start it without them")
    again = f"frostline.open({os.fspath(run)!r}, trust=True)"
    record, settings = opened(folder, trains=False, trust=trust, again=again)
    settings = amended(
        settings,
        trainer=_node(accelerator=accelerator, precision=precision),
        model=_node(weights=weights),
    )
    check(settings, command=None)
    with warnings.catch_warnings(), _silent():
        warnings.simplefilter("ignore")  # Lightning's advice is about training
        return Predictor(folder, Network(settings, folder, checkpoint), record, checkpoint, calibration)


def _require_several(samples: Any, kind: str) -> None:
    """Raise DataError for one sample without brackets, and for a table, whose iterator yields columns. A numeric array
    or tensor of at most 3 dimensions is one sample: its rows or channels would be predicted as samples. kind: `samples`
    of Predicting."""
    for method, (rows, column) in ROWS_BY_METHOD.items():
        if hasattr(samples, method):
            raise DataError(
                "predict takes samples, not a table of them",
                where=f"a {type(samples).__name__}",
                next_step=f"predict(table.{rows})" if kind == "rows" else f"predict({column}), the column of {kind}",
            )
    is_array = isinstance(samples, Tensor) or (isinstance(samples, np.ndarray) and samples.dtype.kind in "biufc")
    if isinstance(samples, str | bytes | os.PathLike | Mapping | np.generic) or (is_array and samples.ndim <= SINGLE):
        is_one = True
    else:
        is_one = not isinstance(samples, Iterable) and not hasattr(samples, "__getitem__")
    if is_one:
        shape = f" of the shape {tuple(samples.shape)}" if is_array else ""
        raise DataError(
            "predict takes several samples, not one",
            where=samples if isinstance(samples, str | os.PathLike) else f"a {type(samples).__name__}{shape}",
            next_step="predict([sample]), with brackets"
            + ("; predict([*samples]) if its first dimension counts samples" if is_array else ""),
        )


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
