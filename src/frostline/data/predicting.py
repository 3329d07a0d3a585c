"""What every modality answers about predictions: how it reads samples without targets, and what a run says of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from frostline.data.parts import Transfers
from frostline.errors import DataError
from frostline.tasks.base import Task

Columns = dict[str, list[str]]
STANDARD_INPUT = "-"


class Prediction(NamedTuple):
    """columns: what `frostline predict` writes about the sample, by column name; for words a list per column. values:
    (K,) probabilities or numbers; (W, K) probabilities of words, NaN for a word that was cut off; (H, W) classes of
    pixels."""

    columns: dict[str, Any]
    values: Tensor


class Predicted(NamedTuple):
    """given: columns of the input. told: columns that the run adds, of the same length. problems: why other samples
    have no prediction. files: for each sample, what does not fit into a table, by file suffix."""

    given: Columns
    told: Columns
    problems: list[DataError]
    files: Sequence[dict[str, bytes]] = ()


class Asked(NamedTuple):
    """The settings of `frostline predict`. data: those of its `data` group."""

    input: str | None
    text: str | None
    batch_size: int
    top_k: int
    data: Mapping[str, Any]


class Opened(NamedTuple):
    """A trained run, for samples without targets. settings: of its data. predictions: of the samples that a module
    loads, on the CPU, in the order of its batches."""

    task: Task
    settings: Mapping[str, Any]
    predictions: Callable[[Transfers], Iterator[Tensor]]


class Predicting(ABC):
    """samples: what they are called. table_settings, file_settings: of `Asked.data`, which apply to a table and to any
    input."""

    samples: ClassVar[str]
    table_settings: ClassVar[frozenset[str]] = frozenset()
    file_settings: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def of_input(self, asked: Asked) -> Predicted:
        """Predict the samples of `asked.input` or `asked.text`. Raises DataError if none can be read."""

    @abstractmethod
    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        """Predict values in memory. start: number of samples before these. Raises DataError that names a sample which
        cannot be read."""

    @abstractmethod
    def unreadable(self, errors: Sequence[DataError], besides: str = "") -> DataError:
        """One error for all samples that cannot be read. besides: what came of the others."""


def cells(columns: dict[str, list[str]]) -> dict[str, str]:
    """The cells of a table of one row."""
    return {name: cell for name, (cell,) in columns.items()}
