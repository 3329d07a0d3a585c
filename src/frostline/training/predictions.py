"""Collect predictions of the validation and test splits while the best weights are scored, and write them to the run
folder. Shapes: R rows, a sample or a word each.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from frostline import __version__
from frostline.data.source import Source
from frostline.data.split import Split
from frostline.runs import predictions as files
from frostline.runs.record import Record, plain
from frostline.training.build import Built
from frostline.training.chosen_validation import ChosenValidation
from frostline.training.collected import Collected, Columns

GIGABYTE = 1e9


@contextmanager
def collecting(trainer: L.Trainer, max_bytes: float | None) -> Iterator[Collected | None]:
    """Collect predictions of the evaluations in this context; None collects nothing."""
    if max_bytes is None:
        yield None
        return
    collected = Collected(max_bytes)
    with attached(trainer, collected):
        yield collected


@contextmanager
def attached(trainer: L.Trainer, callback: L.Callback) -> Iterator[None]:
    trainer.callbacks.append(callback)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        trainer.callbacks.remove(callback)  # type: ignore[attr-defined]


class PredictionFiles:
    """max_gigabytes: limit for each split; None collects and writes nothing."""

    def __init__(self, built: Built, folder: Path, max_gigabytes: float | None) -> None:
        self.built = built
        self.folder = folder
        self.max_gigabytes = max_gigabytes
        self._collected: dict[files.Split, Collected] = {}
        self._chosen: ChosenValidation | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Collect predictions from the validations of the training in this context."""
        if self.max_gigabytes is None:
            yield
            return
        trainer = self.built.trainer
        self._chosen = ChosenValidation(self.max_gigabytes * GIGABYTE)
        with attached(trainer, self._chosen):
            yield
        self._chosen.settle(trainer)

    @contextmanager
    def collecting(self, split: files.Split) -> Iterator[None]:
        """Collect predictions from the evaluation of `split` in this context."""
        limit = None if self.max_gigabytes is None else self.max_gigabytes * GIGABYTE
        with collecting(self.built.trainer, limit) as collected:
            if collected is not None:
                self._collected[split] = collected
            yield

    def finish(self, record: Record) -> None:
        """Write both splits, as scored with the tested weights. A full disk loses the predictions, but not the run."""
        if self.max_gigabytes is None:
            return
        built, record.predictions = self.built, {}
        scores = self._validation(record)
        tested = {name: value for name, value in record.metrics.items() if name.startswith("test/")}
        splits: dict[files.Split, tuple[Split, dict[str, float]]]
        splits = {"val": (built.data.val_split, scores), "test": (built.data.test_split, tested)}
        too_large: dict[files.Split, float] = {}
        for split, (samples, own) in splits.items():
            if split not in self._collected:  # it was not scored
                continue
            num_bytes, columns = self._collected[split].gathered(built.trainer)
            if num_bytes > self.max_gigabytes * GIGABYTE:
                too_large[split] = num_bytes / GIGABYTE
            elif columns is not None:
                self._write(split, table_of(columns, samples), own, record)
        if too_large and built.trainer.is_global_zero:
            self._report(too_large)

    def _validation(self, record: Record) -> dict[str, float]:
        """Collect validation predictions of the tested weights, from their own epoch if it is held, else from another
        pass. Return their scores."""
        built = self.built
        held = None if self._chosen is None else self._chosen.of(record.best)
        if held is not None:
            self._collected["val"] = held.collected
            return held.scores
        with _alone(built.trainer), self.collecting("val"):
            (scores,) = built.trainer.validate(built.model, datamodule=built.data, verbose=False)
        return dict(scores)

    def _write(self, split: files.Split, columns: dict[str, Any], scores: dict[str, float], record: Record) -> None:
        weights = record.best or {"phase": self.built.model.phase.name, "epoch": None, "average": None}
        found = described(self.built, columns, scores, weights, record)
        try:
            files.write(self.folder, split, found.columns, found.about)
            record.predictions[split] = files.file_of(split)
        except OSError as error:
            print(f"frostline: predictions of {split} are not written: {error.strerror or error}", file=sys.stderr)

    def _report(self, too_large: dict[files.Split, float]) -> None:
        sizes = " and ".join(f"{split} ({size:.3g} GB)" for split, size in too_large.items())
        enough = math.ceil(10 * max(too_large.values())) / 10
        print(
            f"frostline: predictions of {sizes} are not written: they take more than predictions_max_gigabytes="
            f"{self.max_gigabytes:g}; {enough:g} would be enough",
            file=sys.stderr,
        )


def described(
    built: Built, columns: dict[str, Any], scores: dict[str, float], weights: dict[str, Any], record: Record
) -> files.Predictions:
    """columns: from `table_of`. weights: phase and epoch of those that were scored."""
    task = built.model.task
    about = {
        "version": __version__,
        "task": type(task).__name__,
        "kind": built.data.targets.kind,
        "names": built.data.names,  # of all targets; a split may have more than training
        "std": built.data.targets.about.get("std"),  # of numbers in training, by which the loss is divided
        "evidence": task.evidence_unit,
        "worst": None if task.worst is None else task.worst._asdict(),
        "ratios": {name: ratio.stored() for name, ratio in task.ratios.items()},
        "monitor": record.monitor,
        "mode": record.mode,
        "scores": scores,
        "weights": weights,
        "model": built.model.backbone.name,
        "data": built.data.name,
    }
    return files.Predictions(plain(about), columns | {"phase": [weights["phase"]] * len(columns["index"])})


def table_of(columns: Columns, split: Split) -> dict[str, Any]:
    """Sort the columns by sample in the order of the split, then by word, whatever the order of scoring. Add the names
    of the samples, their groups, and their values of `data.group_columns`."""
    source, index = split.source, columns["index"]
    place = torch.empty(len(source.labels), dtype=torch.int64)
    place[split.index] = torch.arange(len(split.index))
    order = place[index].argsort(stable=True)  # stable: a task returns the rows of a sample in order
    words = _words(source, index[order])
    if words is not None:
        by_word = words.argsort(stable=True)
        by_word = by_word[place[index[order[by_word]]].argsort(stable=True)]
        order, words = order[by_word], words[by_word]
    index = index[order]
    table: dict[str, Any] = {"sample": [source.name_of(it) for it in index.tolist()], "index": index.numpy()}
    table |= {"group": [split.groups[it] for it in index.tolist()]} if split.groups else {}
    table |= {f"{files.SLICE}{name}": [own[it] for it in index.tolist()] for name, own in split.slices.items()}
    table |= {} if words is None else {"word": words.numpy()}
    return table | {name: column[order].numpy() for name, column in columns.items() if name != "index"}


def _words(source: Source, index: Tensor) -> Tensor | None:
    """(R,) index of the word of each row; None if each sample has one row."""
    found = [source.words_of(it) for it in index.unique_consecutive().tolist()]
    words = [it for it in found if it is not None]
    return torch.cat(words) if words else None


@contextmanager
def _alone(trainer: L.Trainer) -> Iterator[None]:
    """Detach loggers and callbacks: curves, checkpoints and progress belong to training."""
    loggers, trainer.loggers = trainer.loggers, []
    callbacks, trainer.callbacks = trainer.callbacks, []  # type: ignore[attr-defined]
    try:
        yield
    finally:
        trainer.loggers, trainer.callbacks = loggers, callbacks  # type: ignore[attr-defined]
