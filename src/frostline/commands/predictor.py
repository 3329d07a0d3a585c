"""Open a trained run from Python: `frostline.open`."""

import logging
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from frostline.commands.checks import check
from frostline.commands.picture_predictions import picture_spec, picture_values
from frostline.commands.text_predictions import text_values, tokenizer_of
from frostline.commands.trained import Network
from frostline.contracts.specs import TextSpec
from frostline.data.pictures.reading import named, read_picture, resized
from frostline.data.target_types.find import target_type
from frostline.data.texts.to_predict import BLANKS, Unlabelled
from frostline.distributed.launcher import many
from frostline.errors import ConfigError, DataError
from frostline.paths import at_home
from frostline.runs.folder import amended, opened


class Prediction(NamedTuple):
    """columns: the cells that `frostline predict` writes for the sample, by header; for words, a list per column.
    values: (K,) probabilities or numbers; (W, C) probabilities of the words, NaN for words that were cut off or have
    no token; (H, W) class indices of the pixels."""

    columns: dict[str, Any]
    values: Tensor


class _Reader(ABC):
    """Predicts samples of one modality, batch by batch. start: index of the batch's first sample."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @abstractmethod
    def __call__(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        """Raises DataError that names the first sample that cannot be read."""


class _Pictures(_Reader):
    def __call__(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        pictures = [as_picture(sample, f"sample {start + place}") for place, sample in enumerate(samples)]
        setting = self.network.settings.data.get("grey_range")
        grey = None if setting is None or isinstance(setting, str) else (float(setting[0]), float(setting[1]))
        rows, broken = picture_values(
            self.network, pictures, root=Path(), grey=grey, batch_size=batch_size, num_workers=0
        )
        for place in sorted(broken):
            raise self._problem(pictures[place], f"sample {start + place}")
        task = self.network.task
        return [Prediction(_cells(task.columns([row], top_k)), row) for row in rows.values()]

    def _problem(self, picture: Path | Image.Image, where: str) -> DataError:
        """Read the picture again and return the error, with a next step for Python."""
        spec, step = picture_spec(self.network), "repair it, or leave it out"
        try:
            if isinstance(picture, Path):
                read_picture(picture, spec)
            else:
                with named(where):
                    resized(picture, spec)
        except DataError as error:
            said = f"{picture} ({where})" if isinstance(picture, Path) else where
            return DataError(error.what, where=said, next_step=step)
        return DataError("it could not be read, and decodes now", where=where, next_step="predict it again")


class _Texts(_Reader):
    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.tokenizer = tokenizer_of(network)

    def __call__(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        where = [f"sample {start + place}" for place in range(len(samples))]
        if self.tokenizer.words:
            texts: list[Any] = [_words_of(*it) for it in zip(samples, where, strict=True)]
        else:
            columns = list(self.network.settings.data.text_columns)
            texts = [_texts_of(sample, place, columns) for sample, place in zip(samples, where, strict=True)]
        found = Unlabelled(texts, where, {}, [])
        found, _, values = text_values(self.network, self.tokenizer, found, batch_size=batch_size, windows=False)
        for problem in found.problems:
            raise problem
        task = self.network.task
        if not self.tokenizer.words:
            return [Prediction(_cells(task.columns([row], top_k)), row) for row in values]
        return [
            Prediction({"word": words, **task.columns([*row], top_k)}, row)
            for words, row in zip(texts, values, strict=True)
        ]


class Predictor:
    """A run opened for prediction. run: its folder. task: as in `task=`. classes: names of the classes, labels or tags
    in the order of the outputs; empty for regression."""

    def __init__(self, run: Path, network: Network) -> None:
        self.run = run
        targets = network.targets
        self.task = target_type(targets.kind).task
        self.classes = list(targets.names) if target_type(targets.kind).has_classes else []
        self._reader: _Reader = (_Texts if isinstance(network.spec, TextSpec) else _Pictures)(network)

    def predict(self, samples: Iterable[Any], batch_size: int = 64, top_k: int = 5) -> Iterator[Prediction]:
        """Predict the samples lazily and in order, `batch_size` at a time.

        samples: for pictures, paths, PIL images, arrays (H, W) or (H, W, C), or uint8 tensors (H, W) or (C, H, W); for
        texts, strings or pairs of strings; for words, lists of words, or strings of words separated by blanks.
        top_k: the maximum number of classes in `columns`.

        Raises DataError that names a sample that cannot be read, by its index from 0.
        """
        if isinstance(samples, str | os.PathLike):
            raise DataError(
                "samples are several, and this is one", where=samples, next_step="predict([sample]), with brackets"
            )
        if min(batch_size, top_k) < 1:
            raise ConfigError(
                "at least one sample is predicted at a time, and at least one class named",
                where="batch_size, top_k",
                next_step="predict(samples, batch_size=64, top_k=5)",
            )
        return self._predictions(iter(samples), batch_size, top_k)

    def _predictions(self, samples: Iterator[Any], batch_size: int, top_k: int) -> Iterator[Prediction]:
        start = 0
        while batch := list(islice(samples, batch_size)):
            yield from self._reader(batch, start, batch_size, top_k)
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
        raise ConfigError("a run is opened by one process", where="torchrun, srun", next_step="start it without them")
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


def as_picture(sample: Any, where: str) -> Path | Image.Image:
    """Convert a sample to a path or a PIL image. Raises DataError at `where` if it is no picture."""
    if isinstance(sample, str | os.PathLike):
        file = at_home(os.fspath(sample))
        if not file.is_file():
            raise DataError("there is no such picture", where=f"{file} ({where})", next_step="correct the path")
        return file
    if isinstance(sample, Image.Image):
        return sample
    if isinstance(sample, Tensor):
        if sample.dtype != torch.uint8 or sample.ndim not in (2, 3):
            raise _no_picture(f"a tensor of {sample.dtype} with the shape {tuple(sample.shape)}", where)
        sample = (sample.movedim(0, -1) if sample.ndim == 3 else sample).cpu().numpy()
    if not isinstance(sample, np.ndarray):
        raise _no_picture(f"a {type(sample).__name__}", where)
    values = sample[..., 0] if sample.ndim == 3 and sample.shape[2] == 1 else sample
    try:
        return Image.fromarray(np.ascontiguousarray(values))
    except (TypeError, ValueError) as error:
        raise _no_picture(f"an array of {sample.dtype} with the shape {sample.shape}", where) from error


def _no_picture(what: str, where: str) -> DataError:
    return DataError(
        f"this is no picture: {what}",
        where=where,
        next_step="a path, a PIL image, an array (H, W) or (H, W, 3) of uint8, or a uint8 tensor (3, H, W)",
    )


def _words_of(sample: Any, where: str) -> list[str]:
    words = [it for it in BLANKS.split(sample) if it.strip()] if isinstance(sample, str) else sample
    if isinstance(words, Sequence) and words and all(isinstance(it, str) and it.strip() for it in words):
        return list(words)
    raise DataError(
        "this is no sentence", where=where, next_step="a list of words, or a string with blanks between them"
    )


def _texts_of(sample: Any, where: str, columns: Sequence[str]) -> tuple[str, ...]:
    """columns: the run's names for the texts of a sample."""
    texts = (sample,) if isinstance(sample, str) else sample
    right = isinstance(texts, Sequence) and len(texts) == len(columns)
    if right and all(isinstance(it, str) and it.strip() for it in texts):
        return tuple(texts)
    wanted = "a string" if len(columns) == 1 else f"a tuple of {len(columns)} strings: ({', '.join(columns)})"
    raise DataError(
        "this sample is blank, or not as the run takes them", where=where, next_step=f"{wanted}, with some text"
    )


def _cells(columns: dict[str, list[str]]) -> dict[str, str]:
    """Return the cells of a one-row table."""
    return {name: cell for name, (cell,) in columns.items()}


def _node(**settings: str | None) -> DictConfig:
    return OmegaConf.create(settings)
