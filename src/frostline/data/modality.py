"""What every modality answers: what a sample is, and how the network sees it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from frostline.contracts.specs import Spec
from frostline.contracts.tokens import Tokens
from frostline.data.parts import Part
from frostline.data.predicting import Opened, Predicting
from frostline.data.sample_cache import NOWHERE, SampleCache
from frostline.data.source import Source
from frostline.data.target_types.base import TargetType
from frostline.data.views import Views


class Given(NamedTuple):
    """What a reader found, for its modality. samples: of train, val and test. name, where: of the data. cache: for
    samples that are decoded or tokenized."""

    samples: tuple[Any, Any, Any]
    target: TargetType
    name: str
    where: object
    cache: SampleCache = NOWHERE
    notes: Sequence[str] = ()


class Modality(ABC):
    """A modality's constructor takes the backbone's spec, what a reader found (None to predict), and the settings that
    all data of this modality has. It sets `spec`, and `sources`, which serve the samples of train, val and test.

    samples: what they are called. plainly: how messages call them without augmentation. kept_as: the kind of store that
    caches them. max_tokens: of a batch. num_workers: processes that load batches; None for one per core.
    """

    samples: ClassVar[str]
    plainly: ClassVar[str]
    kept_as: ClassVar[Literal["decoded", "tokens"]]
    spec: Spec
    sources: tuple[Source, Source | None, Source | None]
    max_tokens: int | None = None
    num_workers: int | None = 0

    @abstractmethod
    def __init__(self, spec: Spec, given: Given | None, **settings: Any) -> None: ...

    @classmethod
    @abstractmethod
    def require(cls, spec: Spec) -> None:
        """Raise ConfigError if the backbone takes another modality."""

    @abstractmethod
    def views(self, parts: Mapping[str, Part], target: TargetType, names: Sequence[str], seed: int) -> Views:
        """Prepare the samples of the splits, by name, and return how they are shown. Called once."""

    def look(self) -> dict[str, Any]:
        """Settings by which the network sees other inputs, in plain values: a resume compares them."""
        return {}

    @abstractmethod
    def example(self, train: Part, *, longest: bool) -> Tensor | Tokens:
        """Return one input (1, ...) of the network, of the mean size in training or of the largest."""

    @abstractmethod
    def size_of(self, train: Part) -> str:
        """How large training samples are, for messages."""

    @abstractmethod
    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        """Return what reads and predicts samples without targets. target: what the run learned."""

    def describe(self, parts: Mapping[str, Part]) -> dict[str, Any]:
        """Further entries of run.json."""
        return {}

    def notes(self, parts: Mapping[str, Part]) -> list[str]:
        """Sentences for the user about the samples. parts: the splits by name."""
        return []

    def chosen(self) -> dict[str, Any]:
        """Values that the data decided for settings left open, by key of the config."""
        return {}
