"""The contract of a task: what the outputs of a network mean. Shapes: outputs (B, K) for samples, K = num_outputs;
(B, L, K) for tokens; (B, K, H, W) for pixels; (B, M, 6) for boxes.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from frostline.contracts.batch import Batch
from frostline.contracts.features import Unit
from frostline.contracts.ratios import Ratio
from frostline.contracts.tokens import Tokens, values_of
from frostline.contracts.worst import Worst
from frostline.errors import ConfigError, close_names

Mode = Literal["max", "min"]


class Metrics(nn.Module):
    """Scores of a data split over all batches and ranks, with every sample counted once."""

    @abstractmethod
    def update(self, outputs: Tensor, batch: Batch) -> None: ...

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Scores by name; `n` is the number of samples."""

    @abstractmethod
    def per_class(self) -> list[dict[str, Any]]:
        """A row for each class, label, number or entity type: its name first, `n`, and scores."""

    @abstractmethod
    def reset(self) -> None: ...


def quotients(numbers: Tensor, by: Tensor) -> list[float | None]:
    """None for a division by 0, such as the recall of a class without samples."""
    pairs = zip(numbers.tolist(), by.tolist(), strict=True)
    return [number / divisor if divisor else None for number, divisor in pairs]


class Task(nn.Module):
    """A task sets `kind`, the kind of its targets, and `unit`, what each output belongs to; its constructor takes
    `Targets` first. `usual_head`: an option of `head=` that fits. `guides_head`: whether the head takes the targets in
    training, and then returns the terms of the loss. `stands_alone`: whether outputs are of use without the sizes of
    pictures, for `Predictor.module`. `gives_files`, `gives_numbers`: whether predictions are files, or
    numbers in the unit of the targets. `hub_task`: its name on the hub of Hugging Face, {} for the kind of samples;
    `hub_samples`: the kinds for which the hub has it, None for all. `evidence_unit`: what `evidence` is, in words.
    `shares`: the scores that are proportions of samples. `noted`: validation scores of the tested weights that run.json
    needs beside the monitor. `worst`: the score by which the page of a run chooses samples to show; None: for
    classes and numbers their errors, else at random. `ratios`: the scores that are ratios of sums over columns of
    `saved`, which then have intervals. `saves_cheaply`: whether `saved` takes next to nothing beside a forward pass, so
    that each validation may call it. `per_identity`: samples of each name in a training batch; None for any.

    monitor: the validation score, `val/<name>`, that selects the best epoch. mode: whether its `max` or `min` is best.

    l1: factor of the sum of |w| over the learning weights, added to the training loss.
    scores: names from `metrics().compute()`, with the mode that is best. Raises ConfigError if `monitor` is none of
        them or `mode` is the other.
    """

    kind: ClassVar[str] = "class"
    unit: ClassVar[Unit] = "sample"
    usual_head: ClassVar[str] = "linear"
    guides_head: ClassVar[bool] = False
    gives_files: ClassVar[bool] = False
    gives_numbers: ClassVar[bool] = False
    stands_alone: ClassVar[bool] = True
    hub_task: ClassVar[str] = ""
    hub_samples: ClassVar[frozenset[str] | None] = None
    evidence_unit: ClassVar[str] = ""
    shares: ClassVar[frozenset[str]] = frozenset()
    noted: frozenset[str] = frozenset()
    worst: ClassVar[Worst | None] = None
    ratios: ClassVar[Mapping[str, Ratio]] = MappingProxyType({})
    saves_cheaply: ClassVar[bool] = True
    per_identity: int | None = None

    def __init__(self, *, monitor: str, mode: Mode, l1: float, scores: dict[str, Mode]) -> None:
        super().__init__()
        self.scores = {f"val/{score}": best for score, best in scores.items()}
        self.require_score(monitor, mode, "task")
        self.monitor = monitor
        self.mode = mode
        self.l1 = l1

    @classmethod
    def hub_task_of(cls, samples: str) -> str:
        """samples: their kind on the hub, as image. "" if the hub has no such task."""
        return cls.hub_task.format(samples) if cls.hub_samples is None or samples in cls.hub_samples else ""

    def require_score(self, monitor: str, mode: Mode, where: str) -> None:
        """Raises ConfigError if validation has no such score, or if the other mode is the best."""
        if monitor not in self.scores:
            raise ConfigError(
                f"there is no score '{monitor}': {close_names(monitor, self.scores)}",
                where=f"{where}.monitor",
                next_step=f"one of {', '.join(self.scores)}",
            )
        if mode != self.scores[monitor]:
            raise ConfigError(
                f"the best {monitor} is the {'largest' if mode == 'min' else 'smallest'}, but the mode is '{mode}'",
                where=f"{where}.mode",
                next_step=f"{where}.mode={self.scores[monitor]}",
            )

    def standard_error(self, monitor: str, score: float, samples: float) -> float:
        """Standard error of a score that is a proportion of the samples; 0 for others."""
        return math.sqrt(score * (1 - score) / samples) if monitor in self.shares else 0.0

    @property
    @abstractmethod
    def num_outputs(self) -> int: ...

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Terms by name, whose sum is minimised: means over samples, such that the mean over shares of a batch is the
        mean over the whole batch. Several terms are logged separately."""

    @property
    def solvable(self) -> bool:
        """Whether the loss is convex in the outputs of single rows: whether the task has `loss_of_rows`."""
        return type(self).loss_of_rows is not Task.loss_of_rows

    @property
    def rows_per_sample(self) -> float:
        """Mean number of rows (`fit_rows`) per training sample."""
        return 1.0

    def fit_rows(self, features: Tensor | Tokens, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(R, D) features and their R targets: the loss is a mean over these rows."""
        return values_of(features), targets

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of R rows, convex in the outputs (R, K)."""
        raise NotImplementedError

    @abstractmethod
    def metrics(self) -> Metrics: ...

    @abstractmethod
    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        """A prediction for each sample, in the unit and size of its source: (K,) probabilities or numbers; (L, K) for
        tokens; another task says what it returns."""

    def in_units(self) -> nn.Module | None:
        """A module that turns outputs into the unit of the targets, at the end of `Predictor.module`; None for outputs
        without a unit, such as logits."""
        return None

    @property
    def encodes(self) -> bool:
        """Whether predictions of other models can be scored as this task's: whether the task has `encode`."""
        return type(self).encode is not Task.encode

    def encode(self, predictions: Tensor) -> Tensor:
        """The inverse of `decode`: (N, K) probabilities above 0, or numbers, → outputs (N, K), in the dtype and on the
        device of the predictions."""
        raise NotImplementedError

    def evidence(self, outputs: Tensor) -> Tensor:
        """(..., K) outputs → (..., K) scores, each of which says how much speaks for that answer: linear, so that the
        parts of a sample have shares of it. Raises ConfigError if answers of this task are not explained."""
        raise ConfigError(
            f"answers of {type(self).__name__} are not explained, as a sample has not one but many, or none by name",
            where="task",
            next_step="explain a run with task=classification, multi_label or regression",
        )

    @abstractmethod
    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """Columns of a table by header. predictions: for N samples or words, as `decode` returns them. top_k: most
        classes to name."""

    def word_columns(
        self, sentences: Sequence[Sequence[str]], predictions: Sequence[Tensor], top_k: int
    ) -> dict[str, list[str]]:
        """`sentence`, counted from 1, `word`, and `columns`. predictions: (W, C) per sentence, NaN for a word without
        one."""
        rows = [(str(number), word) for number, words in enumerate(sentences, 1) for word in words]
        numbered = {"sentence": [number for number, _ in rows], "word": [word for _, word in rows]}
        return numbered | self.columns([*torch.cat([*predictions])], top_k)

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Columns of the table of predictions that a run writes: `target`, and the outputs under a name that describes
        them; a row for each of B samples. A task with several rows per sample adds `sample`: (R,) the index of each
        row's sample in the batch, in ascending order.
        """
        return {"target": batch.targets, "logits": outputs.float()}

    def files(self, prediction: Tensor) -> dict[str, bytes]:
        """Contents of files by suffix, for predictions that do not fit into a table."""
        return {}

    def files_of_all(self, names: Sequence[str], predictions: Sequence[Tensor]) -> dict[str, Callable[[], bytes]]:
        """Functions that make the contents of files, by name, for several predictions together. names: of samples."""
        return {}

    def notes(self, predictions: Sequence[Tensor]) -> list[str]:
        """Sentences for the user about the predictions of several samples."""
        return []

    @property
    def calibrates(self) -> bool:
        """Whether predictions are probabilities of one class for each sample: whether the task has `probabilities`."""
        return type(self).probabilities is not Task.probabilities

    def calibrate(self, temperature: float) -> None:
        """Divide logits by a temperature before they become `probabilities`."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K) → (B, K) in float32, as `decode` returns them."""
        raise NotImplementedError

    @property
    def draws(self) -> bool:
        """Whether predictions can be drawn on pictures: whether the task has `drawn`."""
        return type(self).drawn is not Task.drawn

    def drawn(self, picture: Image.Image, prediction: Tensor) -> Image.Image:
        """An upright picture with its prediction."""
        raise NotImplementedError

    def truths(self, batch: Batch) -> list[Tensor]:
        """The targets of a batch of a scored split, in the form of predictions, so that `drawn` takes them."""
        raise NotImplementedError
