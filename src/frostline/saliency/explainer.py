"""The contract of an explainer: what in the samples of one kind speaks for answers. A spec names its own."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from frostline.backbones.base import Backbone
from frostline.contracts.batch import Batch
from frostline.data.module import Data
from frostline.data.predicting import Predicted, Predicting
from frostline.data.split import Split
from frostline.errors import DataError
from frostline.saliency.look import Look, Word
from frostline.saliency.running import Evidence, no_map

LeftOut = Counter[tuple[str, str]]  # by the reason, of one and of several


class Answering(NamedTuple):
    """The network whose answers are explained. computing: a context of the run's precision."""

    backbone: Backbone
    head: nn.Module
    evidence: Evidence
    computing: Callable[[], AbstractContextManager[Any]]


class Explanation(NamedTuple):
    """chosen: index of the explained output. summary: its name and sentence, as printed. picture: content of a
    PNG; b"" of texts. texts: by column. words: with their shares."""

    chosen: int
    summary: tuple[str, str]
    picture: bytes = b""
    texts: Mapping[str, str] = {}
    words: Sequence[Word] = ()


class Explainer(ABC):
    """example_input: how a user gives one sample. suffix: .png if explanations have a picture, .html if they have
    words."""

    example_input: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def explain(
        self, network: Answering, predicting: Predicting, batch: Batch, found: Predicted, chosen: int | None
    ) -> Explanation:
        """Explain the answer for one sample. predicting: what predicted it. batch: as the network took it. chosen: the
        index of an output; None: the one with the highest score. Raises ConfigError if the network has nothing to
        explain, DataError if the explanation is not exact."""

    @abstractmethod
    def looks(
        self,
        network: Answering,
        data: Data,
        split: Split,
        device: torch.device,
        seconds: float | None,
        left_out: LeftOut,
    ) -> Iterator[tuple[int, Look]]:
        """Yield looks by index in the source, in the order of the split. seconds: that may be spent if two passes are
        not enough; None for any time. left_out: counts samples without a look, by the reason. Raises Costly if the rest
        would take longer, DataError, and ConfigError if the network has nothing to explain."""


def explainer_of(backbone: Backbone) -> Explainer:
    """Raises ConfigError if the inputs of the network are not explained."""
    name = backbone.spec.explainer
    if not name:
        raise no_map(backbone)
    module, _, own = name.rpartition(".")
    made: Explainer = getattr(import_module(module), own)()
    return made


def loaded(data: Data, split: Split, places: Sequence[int], device: torch.device) -> Batch:
    """Samples at `places` of a split, without a view. Raises DataError."""
    batch = split.__getitems__([*places])
    if isinstance(batch, DataError):
        raise batch
    moved: Batch = data.transfer_batch_to_device(batch, device, 0)
    return moved
