"""What every reader answers: where the samples of a data set lie, and what their targets are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from frostline.contracts.targets import Targets
from frostline.data.modality import Modality
from frostline.data.splits import Sampling
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError


class Found(NamedTuple):
    """The samples of each split, as the reader's modality takes them, with their targets.

    names: of classes, labels, columns or tags. val, test: None if that split is to be taken from `train`. notes:
    sentences for the user. about: what `Targets.about` holds beside what the target type computes.
    """

    names: list[str]
    train: Any
    val: Any = None
    test: Any = None
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = {}


class Reader(ABC):
    """A reader's constructor takes the settings that say where its samples lie and sets `name` and `where` (its folder
    or file), by which messages name the data. `data/composed.py` joins it with its `modality`.
    """

    name: str
    where: object
    modality: ClassVar[type[Modality]]
    sampling: ClassVar[type[Sampling]] = Sampling
    kinds: ClassVar[tuple[str, ...]] = ("class",)  # of targets that it can read
    reads_columns: ClassVar[bool] = False  # whether it also reads every kind that columns of a table give
    chooses: ClassVar[str | None] = None  # the setting that names the classes to use
    named_by: ClassVar[str] = ""  # the setting that names `where`
    divides: ClassVar[str] = ""  # how a user assigns samples to splits

    @abstractmethod
    def read(self, target: TargetType, known: Targets | None) -> Found:
        """Find the samples. known: the targets of a run that is scored on them, whose names are theirs.

        Raises DataError that names what cannot be read, ConfigError for settings that do not fit the target type."""

    def too_few(self, error: DataError, counts: Mapping[str, int], needed: int) -> DataError:
        """Return the error to raise if a class has fewer than `needed` samples. counts: of each class."""
        return error
