"""The contract of a task: what the logits mean. Shapes: logits (B, K), K = num_outputs."""

from abc import abstractmethod
from typing import Any, Literal

from torch import Tensor, nn

from frostline.errors import ConfigError, close_names


class Metrics(nn.Module):
    """Gathered over a part of the data, over all ranks, every sample once."""

    @abstractmethod
    def update(self, logits: Tensor, targets: Tensor) -> None: ...

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Scores by name; `n` is the number of samples."""

    @abstractmethod
    def per_class(self) -> list[dict[str, Any]]: ...

    @abstractmethod
    def reset(self) -> None: ...


class Task(nn.Module):
    """monitor: the validation score, `val/<name>`, by which the best epoch is chosen. mode: which end of it is best.

    l1: times the sum of |w| over the learning weights, added to the training loss.
    scores: what `metrics().compute()` gives. Raises ConfigError where `monitor` is none of them.
    """

    def __init__(self, *, monitor: str, mode: Literal["max", "min"], l1: float, scores: list[str]) -> None:
        super().__init__()
        self.scores = [f"val/{score}" for score in scores]
        self.require_score(monitor, "task.monitor")
        self.monitor = monitor
        self.mode = mode
        self.l1 = l1

    def require_score(self, name: str, where: str) -> None:
        """Raises ConfigError where validation gives no such score."""
        if name not in self.scores:
            raise ConfigError(
                f"there is no score '{name}': {close_names(name, self.scores)}",
                where=where,
                next_step=f"one of {', '.join(self.scores)}",
            )

    @property
    @abstractmethod
    def num_outputs(self) -> int: ...

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean over samples."""

    @abstractmethod
    def metrics(self) -> Metrics: ...

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K), for predictions."""
