"""The contract of a task: what the outputs of a network mean. Shapes: outputs (B, K) of a sample, K = num_outputs;
(B, L, K) of its tokens; (B, K, H, W) of its pixels.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from frostline.contracts.batch import Batch
from frostline.contracts.features import Unit
from frostline.contracts.tokens import Tokens, values_of
from frostline.errors import ConfigError, close_names

Mode = Literal["max", "min"]


class Metrics(nn.Module):
    """Gathered over a part of the data, over all ranks, every sample once."""

    @abstractmethod
    def update(self, outputs: Tensor, batch: Batch) -> None: ...

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Scores by name; `n` is the number of samples."""

    @abstractmethod
    def per_class(self) -> list[dict[str, Any]]:
        """A row for each name of the targets: its name first, then scores, and `n`."""

    @abstractmethod
    def reset(self) -> None: ...


class Task(nn.Module):
    """A task sets the `kind` of targets that it learns from, if these are not classes, and the `unit` that its outputs
    are about; its constructor takes `Targets` first. `solvable`: whether the loss is convex in the outputs of single
    rows (`fit_rows`). `gives_files`: whether predictions are files (`files`). `shares` names the scores
    that are proportions of samples.

    monitor: the validation score, `val/<name>`, by which the best epoch is chosen. mode: which end of it is best.

    l1: times the sum of |w| over the learning weights, added to the training loss.
    scores: what `metrics().compute()` gives, with the end that is best. Raises ConfigError where `monitor` and `mode`
        are none of them.
    """

    kind: ClassVar[str] = "class"
    unit: ClassVar[Unit] = "sample"
    solvable: ClassVar[bool] = True
    gives_files: ClassVar[bool] = False
    shares: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, monitor: str, mode: Mode, l1: float, scores: dict[str, Mode]) -> None:
        super().__init__()
        self.scores = {f"val/{score}": best for score, best in scores.items()}
        self.require_score(monitor, mode, "task")
        self.monitor = monitor
        self.mode = mode
        self.l1 = l1

    def require_score(self, monitor: str, mode: Mode, where: str) -> None:
        """Raises ConfigError where validation gives no such score, or where the other end of it is the best."""
        if monitor not in self.scores:
            raise ConfigError(
                f"there is no score '{monitor}': {close_names(monitor, self.scores)}",
                where=f"{where}.monitor",
                next_step=f"one of {', '.join(self.scores)}",
            )
        if mode != self.scores[monitor]:
            raise ConfigError(
                f"the best {monitor} is the {'largest' if mode == 'min' else 'smallest'}, and the mode says '{mode}'",
                where=f"{where}.mode",
                next_step=f"{where}.mode={self.scores[monitor]}",
            )

    @property
    @abstractmethod
    def num_outputs(self) -> int: ...

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Terms by name, whose sum is minimised: means over samples, such that the mean over shares of a batch is the
        mean over the whole. Several terms are logged one by one."""

    @property
    def rows_per_sample(self) -> float:
        """The mean over training samples."""
        return 1.0

    def fit_rows(self, features: Tensor | Tokens, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(R, D) features and their R targets: a row for each thing that the loss is a mean over."""
        return values_of(features), targets

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over R rows, convex in the outputs (R, K)."""
        raise NotImplementedError

    @abstractmethod
    def metrics(self) -> Metrics: ...

    @abstractmethod
    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        """A prediction for each sample, in the frame and unit of its source: (K,) probabilities or numbers; (L, K) of
        tokens; a mask of the picture's own size."""

    @abstractmethod
    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """Columns of a table by their header. predictions: (K,) each, of N samples or words. top_k: how many classes to
        name, at most."""

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Columns of the table of predictions that a run leaves: `target`, and the outputs under a name that says what
        they are; a row for each of B samples. A task with several rows for a sample adds `sample`: (R,) the index of
        each row's sample in the batch, in ascending order.
        """
        return {"target": batch.targets, "logits": outputs.float()}

    def files(self, prediction: Tensor) -> dict[str, bytes]:
        """What does not fit into a table, by the suffix of its file."""
        return {}
