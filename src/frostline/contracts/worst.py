"""Which samples a page shows first: those with the worst score of their own."""

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Worst(NamedTuple):
    """score: its name, as iou. `Task.saved` stores its value for each sample in a column of this name, unless reports
    compute it from targets and outputs (report/sample_scores.py, report/score_parts.py). mode: whether its largest
    (`max`) or smallest value is best. title, what: of the gallery, and a sentence on how its samples were chosen. word:
    stands before the value."""

    score: str
    mode: Literal["max", "min"]
    title: str
    what: str
    word: str

    @classmethod
    def of(cls, stored: object) -> "Worst | None":
        """stored: as `_asdict` returns it. None for any other form."""
        if not isinstance(stored, Mapping) or not all(isinstance(stored.get(name), str) for name in cls._fields):
            return None
        return cls(*(stored[name] for name in cls._fields))


LOWEST_OVERLAP = Worst(
    "iou", "max", "Lowest overlap", "Intersection over union, the mean over the classes of a picture.", "overlap"
)
