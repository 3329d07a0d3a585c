"""The contract of a reader: where the samples of a data set lie, and what their targets are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from frostline.contracts.targets import Targets
from frostline.data.by_time import Times
from frostline.data.modality import Modality
from frostline.data.sampling import Sampling
from frostline.data.split_columns import Users
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError

GENERIC_NAMES = frozenset(
    {"train", "training", "trainval", "data", "dataset", "labels", "metadata", "annotations", "samples"}
)


class Found(NamedTuple):
    """The samples of each split with their targets, in a form that the reader's modality takes.

    names: classes, labels, columns or tags, in the order of the outputs. val, test: None to split them off `train`.
    notes: sentences for the user. about: entries that are added to those of `Targets.about`.
    groups: by split, the group of each sample, if samples have groups: no group is then divided.
    slices: by split, the value of each sample by column, if scores are reported by its values.
    times: of the samples, if later ones validate and test. users: whose the samples are, if they are ranked by user.
    """

    names: list[str]
    train: Any
    val: Any = None
    test: Any = None
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = {}
    groups: Mapping[str, Sequence[str]] = {}
    slices: Mapping[str, Mapping[str, Sequence[str]]] = {}
    times: Times | None = None
    users: Users | None = None


class Reader(ABC):
    """Finds samples; its `modality`, to which `data_of` (data/composed.py) joins it, decodes and shows them.

    The constructor takes settings that say where samples lie, and sets `name` and `where` (a folder or file), which
    identify the data in messages.
    """

    name: str
    where: object
    modality: ClassVar[type[Modality]]
    sampling: ClassVar[type[Sampling]] = Sampling
    kinds: ClassVar[tuple[str, ...]] = ("class",)  # target types that it can read
    reads_columns: ClassVar[bool] = False  # whether it also reads every target type that columns of a table give
    chooses: ClassVar[str | None] = None  # the setting that selects classes
    named_by: ClassVar[str] = ""  # the setting that names `where`
    ungroups: str = ""  # the setting that ignores groups
    divides: ClassVar[str] = ""  # settings or folders with which a user assigns samples to splits

    @abstractmethod
    def read(self, target: TargetType, known: Targets | None) -> Found:
        """Find the samples. known: the targets of a run that is to be scored on them; targets are then indices of its
        names.

        Raises DataError that names what cannot be read, ConfigError for settings that do not fit the target type."""

    def too_few(self, error: DataError, counts: Mapping[str, int], needed: int) -> DataError:
        """Return the error to raise if a class has fewer than `needed` samples. counts: samples per class."""
        return error


def name_of(file: Path) -> str:
    """Name data after their file, or after its folder if the file's name says nothing about them, such as train.csv.
    A file in the current folder keeps its name: that folder may be a home."""
    parent = file.parent.name
    is_generic = file.stem.lower() in GENERIC_NAMES and parent.lower() not in GENERIC_NAMES
    return parent if parent and is_generic else file.stem
