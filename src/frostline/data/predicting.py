"""The contract of prediction, per modality: read samples without targets, and return what a trained run predicts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from frostline.data.split import Transfers
from frostline.errors import DataError
from frostline.tasks.base import Task

Columns = dict[str, list[str]]
STANDARD_INPUT = "-"


class Prediction(NamedTuple):
    """The prediction of one sample. columns: as `frostline predict` writes them, by name, with numbers as floats; lists
    for words. values: (K,) probabilities or numbers; (W, K) probabilities of words, NaN for a word that was cut off;
    (H, W) classes of pixels; (M, 6) boxes: left, top, right, bottom in pixels, score, class; (n,) indices of
    characters. Classes are in the order of `Predictor.classes`.
    """

    columns: dict[str, Any]
    values: Tensor


class Predicted(NamedTuple):
    """The predictions of an input. given: columns of the input. predicted: columns of predictions, of the same
    length.
    problems: errors of the samples without a prediction. files: for each sample, content of files to write, by suffix;
    may be made when it is read. of_all: makes the content of files for all samples together, by name.
    values: the prediction of each sample.
    """

    given: Columns
    predicted: Columns
    problems: list[DataError]
    files: Iterable[dict[str, bytes]] = ()
    of_all: Mapping[str, Callable[[], bytes]] = {}
    values: Sequence[Tensor] = ()


class Asked(NamedTuple):
    """The settings of `frostline predict`. data: its `data` group. pictures: whether to draw predictions. top_k: 0 for
    no columns of predictions.
    """

    input: str | None
    text: str | None
    batch_size: int
    top_k: int
    data: Mapping[str, Any]
    pictures: bool = False


class Opened(NamedTuple):
    """A trained run. settings: of its data node. predictions: yields the prediction of each sample that a data module
    loads, on the CPU, in the order of its batches. about: `Targets.about` of the run."""

    task: Task
    settings: Mapping[str, Any]
    predictions: Callable[[Transfers], Iterator[Tensor]]
    about: Mapping[str, Any] = {}


class Predicting(ABC):
    """Reads samples without targets and predicts them; a modality returns one from `predicting`.

    samples: their plural in messages. table_settings, file_settings: keys of `Asked.data` that apply to tables only,
    and to any input."""

    samples: ClassVar[str]
    table_settings: ClassVar[frozenset[str]] = frozenset()
    file_settings: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def of_input(self, asked: Asked) -> Predicted:
        """Predict the samples of `asked.input` or `asked.text`. Raises DataError if none can be read."""

    @abstractmethod
    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        """Predict samples in memory. start: index of the first, for messages. Raises DataError that names a sample
        which cannot be read."""

    def preprocess(self) -> nn.Module | None:
        """A module that turns a tensor of raw samples into the network's inputs; None if a tensor does not hold them,
        such as texts."""
        return None

    def files_in(self, folder: Path) -> list[Path]:
        """Return the files at or below a folder that `of_input` reads."""
        return []

    @abstractmethod
    def unreadable(self, errors: Sequence[DataError], besides: str = "") -> DataError:
        """Combine the errors of samples that cannot be read. besides: a clause about the other samples."""


def cells(columns: dict[str, list[str]]) -> dict[str, str]:
    """The only cell of each column."""
    return {name: cell for name, (cell,) in columns.items()}
