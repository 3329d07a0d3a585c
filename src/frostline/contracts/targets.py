"""What the targets of a data set are: where data and task meet, as backbone and data meet in a spec."""

from dataclasses import dataclass, field
from typing import Any

NO_TAG = -100  # where a tag would stand and none does: what torch's cross-entropy passes over
BEGINS = "B-"  # a tag of the first word of an entity


@dataclass(frozen=True)
class Targets:
    """As the training split has them, in plain values, so that checkpoints carry them.

    kind: of a target type (data/target_types).
    names: of classes, labels, columns or tags, in the order of the network's outputs.
    counts: training samples of each name, but training words of each tag; none of numbers.
    about: what else the task needs of this kind, by name. numbers: `mean` and `std` of each column in training, in its
        unit. tags: `mean_words` of a training sample.
    """

    kind: str
    names: list[str]
    counts: list[int]
    about: dict[str, Any] = field(default_factory=dict)
