"""Description of a data set's targets, which data passes to the task as a backbone passes its spec to data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from frostline.errors import RunError

NO_TAG = -100  # marks positions without a tag; torch's cross-entropy ignores it
UNKNOWN = -1  # marks a character that is not among the names
BEGINS = "B-"  # starts the tag of the first word of an entity


@dataclass(frozen=True)
class Targets:
    """Statistics of the training split in plain values, so that checkpoints can hold them.

    kind: `kind` of a target type (data/target_types).
    names: classes, labels, columns, tags or identities of the training split, in the order of the network's outputs.
    counts: training samples of each name; training words of each tag, pixels of each class, occurrences of each
        character of transcripts; empty for numbers.
    about: what else the task needs (see `TargetType.about`). numbers: `mean` and `std` of each column in training, in
        its unit. tags: `mean_words` of a training sample. `ranked`, if samples are ranked by user: `by`, the column of
        users; `scores`, those that some user of the validation split has; `relevant`, an index of a name or the least
        relevant number; numbers: `least`, the least of training. What the modality learned of the training split stands
        here too (`Modality.learned`).
    """

    kind: str
    names: list[str]
    counts: list[int]
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Targets":
        """record: as `asdict` returns it; keys that a newer version added are ignored."""
        return cls(**{own.name: record[own.name] for own in fields(cls) if own.name in record})


def inputs_in(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run knows of the columns of its samples: `kinds`, `columns`, `row` (data/rows/modality.py). Raises
    RunError if there is nothing of the kind: the record was changed."""
    inputs = about.get("inputs")
    if not (isinstance(inputs, Mapping) and all(key in inputs for key in ("kinds", "columns", "row"))):
        raise RunError(
            "the run does not say which columns it has learned from",
            where="targets.about.inputs",
            next_step="restore its files, or start a new run",
        )
    return inputs
