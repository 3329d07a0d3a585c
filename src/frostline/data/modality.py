"""The contract of a modality: what a sample is, and how the network sees it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from torch import Tensor

from frostline.contracts.specs import Spec
from frostline.contracts.tree import Value
from frostline.data.loader import BUCKET
from frostline.data.part import Part
from frostline.data.predicting import Opened, Predicting
from frostline.data.sample_cache import NOWHERE, SampleCache
from frostline.data.source import Source
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.data.views import Views
from frostline.errors import ConfigError

Kind = TypeVar("Kind", bound=Spec)


class Given(NamedTuple):
    """What a reader found, for its modality. samples: of train, val and test, None for a split that is missing. name,
    where: see `Reader`. cache: of decoded or tokenized samples. about: `Targets.about` of the run that is to be scored
    on them; empty for a new run."""

    samples: tuple[Any, Any, Any]
    target: TargetType
    name: str
    where: object
    cache: SampleCache = NOWHERE
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = {}


class Column(NamedTuple):
    """A column of a table as plain values. values: (N, w) float, or (N,) int64 codes of names from 0, -1 for a name
    that training does not have. is_id: whether its names are ids."""

    name: str
    values: Tensor
    is_id: bool = False


class Modality(ABC):
    """Decodes and shows samples of one kind, whichever reader found them.

    The constructor takes the backbone's spec and the settings that all data of this modality shares, and sets `spec`.
    `read` sets `sources`, which load the samples of train, val and test.
    Everything that `Views.plain` depends on is in `spec` or in `Source.content`: keys of cached outputs hold these.

    samples: the plural in messages. hub_name: what the hub of Hugging Face calls them. plainly: what messages call
    samples without augmentation. kept_as: the kind of store that caches them. max_tokens: limit per batch. bucket: see
    `EpochBatches`. num_workers: processes that load batches; None for one per core. parts: of samples that have several
    ones, by name; each has a network of its own.
    """

    samples: ClassVar[str]
    hub_name: ClassVar[str]
    plainly: ClassVar[str]
    kept_as: ClassVar[Literal["decoded", "tokens"]]
    spec: Spec
    sources: tuple[Source, Source | None, Source | None]
    parts: Mapping[str, Part] = {}
    has_columns: ClassVar[bool] = False  # whether `columns` may return some
    max_tokens: int | None = None
    bucket: int = BUCKET
    num_workers: int | None = 0

    @abstractmethod
    def __init__(self, spec: Spec, **settings: Any) -> None: ...

    @classmethod
    def shown_to(cls, spec: Spec) -> "type[Modality]":
        """The class that shows these samples to a backbone of this spec: another one if there are several ways. It has
        the same settings. Raises ConfigError if there is none."""
        return cls

    @abstractmethod
    def read(self, given: Given) -> None:
        """Set `sources` to what serves the found samples. Not called to predict. Raises DataError."""

    def learned(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """Plain values that are taken from the training split and belong to the trained network: entries of
        `Targets.about`. Called before `prepare`, and not for samples that are scored. splits: by name of the split."""
        return {}

    @abstractmethod
    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> Views:
        """Prepare the samples of the splits (decode them, compare them) and return how they are shown. Called once.

        splits: by name of the split."""

    def look(self) -> dict[str, Any]:
        """Settings that change the network's inputs, as plain values. A resume compares them."""
        return {}

    @abstractmethod
    def example(self, train: Split, *, longest: bool) -> Value:
        """Return an input (1, ...) of the network, as large as the mean training sample, or as the longest."""

    @abstractmethod
    def size_of(self, train: Split) -> str:
        """Describe the size of training samples for messages."""

    def columns(self, split: Split) -> list[Column]:
        """The columns of N samples of a table that no network sees."""
        return []

    def absent(self, split: Split) -> dict[str, Tensor]:
        """By input of a network, (N,) bool: which samples lack it."""
        return {}

    @abstractmethod
    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        """Return the object that reads and predicts samples without targets. target: the type that the run learned."""

    def describe(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        """Entries of run.json besides those of `Data.describe`."""
        return {}

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        """Sentences for the user about the samples. splits: by name of the split."""
        return []

    def chosen(self) -> dict[str, Any]:
        """Values that were derived from the data for settings that are null, by config key."""
        return {}


def narrowed(spec: Spec, wanted: type[Kind], samples: str, next_step: str) -> Kind:
    """The spec as one of the `wanted` class. samples: what this data has. Raises ConfigError if it is of another."""
    if not isinstance(spec, wanted):
        raise ConfigError(
            f"this backbone takes {spec.kind}s, but this data is {samples}", where="model, data", next_step=next_step
        )
    return spec
