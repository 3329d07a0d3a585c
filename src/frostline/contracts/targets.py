"""What the targets of a data set are: where data and task meet, as backbone and data meet in a spec."""

from dataclasses import dataclass
from typing import Literal

# class: one of the names for each sample. labels: any number of them. numbers: a number for each name. tags: one of
# the names for each word of a sample.
Kind = Literal["class", "labels", "numbers", "tags"]
SAID: dict[Kind, str] = {
    "class": "one class for each sample",
    "labels": "any number of labels for each sample",
    "numbers": "numbers for each sample",
    "tags": "a tag for each word",
}
NO_TAG = -100  # where a tag would stand and none does: what torch's cross-entropy passes over
BEGINS = "B-"  # a tag of the first word of an entity


@dataclass(frozen=True)
class Targets:
    """As the training part has them, in plain values, so that checkpoints carry them.

    names: of classes, labels, columns or tags, in the order of the network's outputs.
    counts: training samples of each name, but training words of each tag; none of numbers.
    mean, std: of each column's numbers in training, in their unit; none of classes and labels. Of tags, `mean` is one
        number, the words of a training sample in the mean, and `std` is empty.
    """

    kind: Kind
    names: list[str]
    counts: list[int]
    mean: list[float]
    std: list[float]
